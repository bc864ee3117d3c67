// The operations the model needs, one implementation a folder (cpu/, reference/, cuda/). Shapes and
// dtypes are the caller's contract here: the public doors have checked them, so a violation is a
// bug and aborts through TNL_CHECK. Every result is the same bits for the same inputs and thread
// count.
//
// Pointers of matrices, tensors and workspaces are memory of the device (allocate()), and so are
// the spans of the model's operations. Of attention, cu_seqlens, slots and log_decay are host
// memory and have been read when a call returns. On a GPU calls queue their work on the device's
// own stream (attention on the one it is given) and return before it is done; upload() and
// download() come after all that was queued there and return when done; an error that only shows
// while the work runs is what synchronize() or a copy returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "backend/attention_problem.h"
#include "backend/attention_step.h"
#include "core/thread_pool.h"
#include "tnl/attention_plan.h"
#include "tnl/device.h"
#include "tnl/status.h"
#include "tnl/tensor.h"

namespace tnl {

// A matrix view with contiguous rows: [rows, cols], row_stride elements from row to row, so a
// column block of a wider matrix is a Matrix too.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t row_stride = 0;

  bool given() const { return data != nullptr; }
  Matrix columns(std::int64_t first, std::int64_t count) const;
  Matrix row_block(std::int64_t first, std::int64_t count) const;
  static Matrix contiguous(void* data, DType dtype, std::int64_t rows, std::int64_t cols);
};

enum class MatmulForm {
  kNT,  // C[M,N] = A[M,K] · B[N,K]ᵀ   (y = x Wᵀ)
  kNN,  // C[M,N] = A[M,K] · B[K,N]    (dx = dy W)
  kTN,  // C[M,N] = A[K,M]ᵀ · B[K,N]   (dW = dyᵀ x)
};

enum class GateKind {
  kLinear,   // u · norm(o): 385M, 1B, 7B
  kSigmoid,  // sigmoid(u) · norm(o): the 15B generation
};

// Splits a fused projection y = [q | k | v | ...], each block heads * head_dim wide, into the
// operands of attention: q = silu(y_q), k = silu(y_k), v = y_v or silu(y_v); with LRPE each q, k
// head x of width D becomes [x cos(θ p) | x sin(θ p)] of width 2 D at position p (docs/math.md).
struct SplitArgs {
  Matrix projection;  // [tokens, >= 3 * heads * head_dim], before activation
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  bool silu_v = false;
  bool silu_qk = true;
  const void* theta = nullptr;  // [heads * head_dim] of `theta_dtype`, or nullptr: no LRPE
  DType theta_dtype = DType::kF32;
  std::span<const std::int64_t> positions;  // [tokens], read with LRPE only
  std::span<const std::uint8_t> mask;       // [tokens], 0 zeroes the row of v; empty: all 1
  Matrix q, k;                              // [tokens, heads * K], K = head_dim or 2 * head_dim
  // [tokens, heads * head_dim]. On a GPU and without silu_v it may be the third block of the
  // projection itself, and its gradient that of d_projection.
  Matrix v;
};

// A layer's first step: normed = srmsnorm(x), split.projection = normed Wᵀ and its split(), and
// where given gate_low = normed gate_downᵀ.
struct ProjectArgs {
  Matrix x;
  double eps = 0;
  Matrix normed;  // scratch of the shape of x
  Matrix weights;
  SplitArgs split;
  Matrix gate_down = {}, gate_low = {};  // of the 15B generation
};

struct AdamWArgs {
  std::span<float> parameters;  // updated
  std::span<const float> gradients;
  std::span<float> first_moment, second_moment;
  void* rounded = nullptr;  // where given: the updated parameters once more, in bf16
  float learning_rate = 0, beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f, weight_decay = 0;
  float gradient_scale = 1;  // clipping: multiplies the gradient before anything else
  std::int64_t step = 1;     // counted from 1, for the bias correction
};

struct TimingOptions {
  bool cold = false;   // a GPU's second-level cache holds nothing of it, emptied by reading
  bool graph = false;  // a GPU replays it as a recorded graph: no host work in between
};

// Work that is queued again with the arguments it had.
class Recording {
 public:
  virtual ~Recording() = default;
  // Queues it once more. What the arguments point to is read anew.
  virtual Status run() = 0;
};

// The memory of a GPU since it was opened.
struct MemoryUse {
  std::size_t allocated = 0;  // by this program: allocate() and the backend's own pieces
  // By what the driver has free: the same with the code of kernels and libraries, and with whatever
  // other programs have taken meanwhile.
  std::size_t taken = 0;
  std::size_t free = 0;  // now
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const DeviceProperties& properties() const = 0;
  // dtype of activations and their gradients: f32; f64 in the reference; f32 or bf16 on a GPU.
  // Parameters of a matmul may be stored as f32, bf16, f16 or f64; they are widened on the way in.
  virtual DType compute_dtype() const = 0;
  // dtype of parameter gradients and attention states, which are summed up over many tokens.
  DType sum_dtype() const { return compute_dtype() == DType::kF64 ? DType::kF64 : DType::kF32; }
  // Threads of the host.
  virtual ThreadPool& pool() = 0;

  // Zeroed, aligned to 256 bytes on a GPU and to 64 on the host. No memory left is kUnavailable,
  // with what was asked for, for what purpose, and what is free.
  virtual Result<void*> allocate(std::size_t bytes, const char* purpose) = 0;
  // Waits for the work that may still use it. nullptr is nothing.
  virtual void free(void* data) = 0;
  // Memory of the host that a device copies from and to at its full speed, and that operations may
  // write to; nothing is in it.
  virtual Result<void*> allocate_host(std::size_t bytes, const char* purpose) = 0;
  virtual void free_host(void* data) = 0;
  // Nothing where a device does not count it.
  virtual Result<std::optional<MemoryUse>> memory_use() { return std::optional<MemoryUse>(); }
  // What the backend comes to take by itself in training a model of `layers` layers with passes of
  // `tokens` tokens over rows of `width`; taken: with code and recordings.
  virtual MemoryUse own_memory(std::int64_t tokens, std::int64_t width, std::int64_t layers) const {
    return static_cast<void>(tokens), static_cast<void>(width), static_cast<void>(layers),
           MemoryUse();
  }
  virtual Status upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual Status download(void* to, const void* from, std::size_t bytes) = 0;
  // upload() for few bytes in front of work on the device's own stream: `from` may change at once,
  // and nothing waits.
  virtual Status queue_upload(void* to, const void* from, std::size_t bytes) {
    return upload(to, from, bytes);
  }
  // download() into memory of allocate_host(), behind what is queued on the device's own stream:
  // there once finish() returns.
  virtual Status queue_download(void* to, const void* from, std::size_t bytes) {
    return download(to, from, bytes);
  }
  virtual Status synchronize() = 0;
  // Until all that is queued on the device's own stream is done.
  virtual Status finish() { return synchronize(); }

  // Seconds the device takes for what `work` queues on its own stream, as measured by the device;
  // on the CPU by the clock.
  virtual Result<double> time(const std::function<Status()>& work,
                              const TimingOptions& options) = 0;

  // Bytes/s at which the device reads memory that no cache holds, measured now.
  virtual Result<double> read_bandwidth();

  // Keeps what `work` queues on the device's own stream: on a GPU as one graph, which costs the
  // host one launch. `work` has run once before, so that nothing is left to allocate, and neither
  // waits nor copies to or from the host but by queue_download(). Memory it uses must outlive the
  // recording. run() may call `work` again, where the backend's own memory has moved since.
  virtual Result<std::unique_ptr<Recording>> record(std::function<Status()> work);

  // What was chosen at run time and decides the bits of results, as text; "" where nothing is.
  virtual std::string choices() const { return {}; }
  // From now on it is done as such a text of the same kind of device says. A text that cannot be
  // used is an error; that of another version of a library is left aside, and the result says
  // which.
  virtual Result<std::string> adopt_choices(std::string_view text) {
    return text.empty() ? std::string() : std::string("another kind of device");
  }

  // to = from, of the same shape; on a GPU also from one dtype to another.
  virtual void copy(const Matrix& from, const Matrix& to) = 0;
  virtual void zero(void* data, std::size_t bytes) = 0;

  // C = alpha * product + beta * C. beta = 0 never reads C. A is of compute_dtype, C too or, where
  // the form is kTN, of sum_dtype.
  virtual void matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
                      const Matrix& c) = 0;
  // Up to so many rows of A, a row of A Bᵀ has the same bits whatever rows come with it: a text
  // reads the same alone and in a batch. It holds for every operation with few rows below.
  virtual std::int64_t most_invariant_rows() const = 0;
  // C = residual + A Bᵀ; C may be the residual.
  virtual void matmul_onto(const Matrix& residual, const Matrix& a, const Matrix& b,
                           const Matrix& c) {
    if (residual.data != c.data) copy(residual, c);
    matmul(MatmulForm::kNT, 1.0, a, b, 1.0, c);
  }

  // out[t] = scale * table[ids[t]]
  virtual void embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
                     const Matrix& out) = 0;
  // d_table[ids[t]] += scale * d_out[t], in token order; rows of `skip_id` (padding_idx) get
  // nothing; -1: none. d_table is of sum_dtype.
  virtual void embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids, double scale,
                              std::int64_t skip_id, const Matrix& d_table) = 0;

  // y = x * rsqrt(mean(x²) + eps), row by row. y may be x.
  virtual void srmsnorm(const Matrix& x, double eps, const Matrix& y) = 0;
  // dx (+)= r (dy - x̂ mean(x̂ dy)) with r and x̂ recomputed from x. dx may be dy if not accumulating.
  // Here and in the other gradients: where `y` is given it gets what the forward pass had computed,
  // which the gradient of the matrix behind it needs.
  virtual void srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                                 const Matrix& dx, const Matrix& y = {}) = 0;

  virtual void split(const SplitArgs& args) = 0;
  // args.q, k, v hold the gradients of the outputs; d_projection's first three blocks are written;
  // d_theta [1, heads * head_dim], of sum_dtype, is added to where LRPE is on.
  virtual void split_backward(const SplitArgs& args, const Matrix& d_projection,
                              const Matrix& d_theta) = 0;

  // y = gate(u) * srmsnorm(o)
  virtual void norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                         const Matrix& y) = 0;
  virtual void norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u, const Matrix& dy,
                                  double eps, const Matrix& d_o, const Matrix& d_u,
                                  const Matrix& y = {}) = 0;

  // y = a * b, elementwise (SGLU), and da = dy * b, db = dy * a.
  virtual void product(const Matrix& a, const Matrix& b, const Matrix& y) = 0;
  virtual void product_backward(const Matrix& a, const Matrix& b, const Matrix& dy,
                                const Matrix& da, const Matrix& db, const Matrix& y = {}) = 0;

  // Several of the above at once, for decoding, where launches and passes over few rows would take
  // longer than the weights. The defaults are the operations themselves; arguments called scratch
  // may hold anything afterwards.
  virtual void project(const ProjectArgs& args);
  // out = residual + (gate(u) * srmsnorm(o)) Wᵀ; out may be the residual, `gated` is scratch.
  virtual void gate_onto(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                         const Matrix& gated, const Matrix& weights, const Matrix& residual,
                         const Matrix& out);
  // both = srmsnorm(x) Wᵀ, and where given product = its left half times its right half; `normed`
  // is scratch.
  virtual void norm_glu(const Matrix& x, double eps, const Matrix& normed, const Matrix& weights,
                        const Matrix& both, const Matrix& product);
  // y = srmsnorm(x) Wᵀ; `normed` is scratch and may be x.
  virtual void norm_matmul(const Matrix& x, double eps, const Matrix& normed, const Matrix& weights,
                           const Matrix& y);

  // losses[t] = logsumexp(logits[t]) - logits[t, targets[t]], 0 where targets[t] < 0 (ignored).
  // Where d_scale is given, a number in memory of the device, the logits are replaced by
  // d_scale * (softmax - onehot), zeros for ignored rows.
  virtual void cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                             const double* d_scale, std::span<double> losses) = 0;

  // Solves one problem, or the three of a backward pass, in their order as far as they share memory
  // (attention/lower.h). The plan was made for them by this backend's planner
  // (attention_planner.h), which has also checked it. `workspace` as in attention.h.
  virtual Status attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                           void* workspace, Stream stream) = 0;
  virtual Status attention_step(const AttentionProblem& problem, const AttentionStep& step,
                                const std::string& kernel, Stream stream) = 0;

  // Flat fp32 arrays: the optimiser is the same arithmetic on every backend.
  virtual void adamw(const AdamWArgs& args) = 0;
  // Sum of squares in fp64, in an order that does not depend on the number of threads.
  virtual double sum_of_squares(std::span<const float> values) = 0;
};

// options.threads and options.cpu_target are resolved already.
std::unique_ptr<Backend> make_cpu_backend(const DeviceProperties& properties);
std::unique_ptr<Backend> make_reference_backend(const DeviceProperties& properties);

}  // namespace tnl
