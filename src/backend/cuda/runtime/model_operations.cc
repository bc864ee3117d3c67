// The operations of backend.h beside attention: each queues the launches of ops/ on the device's
// own stream. They cannot fail in the eyes of their caller; the first error is kept and comes out
// of the next copy or synchronize().
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ops/ops.h"
#include "backend/cuda/runtime/cuda_backend.h"
#include "core/check.h"
#include "core/try.h"

namespace tnl {

using cuda::cuda_status;

template <class Body>
void CudaBackend::queue(const Body& body) {
  projected_ = false;
  if (!failed_.ok()) return;
  const Result<cudaStream_t> stream = enter();
  failed_ = stream.ok() ? body(*stream) : stream.status();
}

// Stream order makes one piece of scratch enough: the next operation begins when this one is done.
Result<void*> CudaBackend::scratch(std::size_t bytes) {
  if (bytes <= scratch_bytes_) return scratch_;
  TNL_TRY(cuda_status(cudaStreamSynchronize(stream_), "work of the GPU"));
  free(std::exchange(scratch_, nullptr));
  scratch_bytes_ = 0;
  ++arrangement_;
  TNL_ASSIGN(scratch_, allocate(bytes, "scratch of the GPU's operations"));
  scratch_bytes_ = bytes;
  return scratch_;
}

// The weights of a layer are not what the kernel before writes.
cuda::FewRowsLaunch CudaBackend::overlapping(cudaStream_t stream) const {
  return {.stream = stream, .dependent = properties_.gpu.capability >= 90};
}

Result<cuda::Matmul*> CudaBackend::products() {
  if (matmul_ != nullptr) return matmul_.get();
  TNL_ASSIGN(matmul_workspace_, allocate(cuda::Matmul::kWorkspaceBytes, "matrix products"));
  TNL_ASSIGN(matmul_, cuda::Matmul::create(matmul_workspace_));
  return matmul_.get();
}

std::string CudaBackend::choices() const {
  return matmul_ == nullptr ? std::string() : cuda::write_choices(matmul_->choices());
}

Result<std::string> CudaBackend::adopt_choices(std::string_view text) {
  if (text.empty()) return std::string();
  TNL_ASSIGN(cuda::MatmulChoices chosen, cuda::read_choices(text));
  TNL_TRY(enter().status());
  TNL_ASSIGN(cuda::Matmul* const matmul, products());
  if (chosen.version != matmul->version()) {
    return "cuBLASLt " + std::to_string(chosen.version) + " in place of " +
           std::to_string(matmul->version());
  }
  TNL_TRY(cuda_status(cudaStreamSynchronize(stream_), "work of the GPU"));
  matmul->adopt(std::move(chosen));
  ++arrangement_;
  return std::string();
}

MemoryUse CudaBackend::own_memory(std::int64_t tokens, std::int64_t width,
                                  std::int64_t layers) const {
  // As measured: code of ours and cuBLASLt's, and the graph of a pass, about 46 launches a layer,
  // for which the driver takes blocks.
  constexpr std::size_t kCode = std::size_t{10} << 20, kGraphOfLayer = std::size_t{256} << 10,
                        kBlock = std::size_t{2} << 20;
  const std::size_t graph =
      (static_cast<std::size_t>(layers) * kGraphOfLayer + kBlock - 1) / kBlock * kBlock;
  constexpr float kTheta = 0;
  SplitArgs split;
  split.projection.rows = tokens;
  split.heads = 1;
  split.head_dim = width;
  split.theta = &kTheta;
  const std::size_t scratch =
      std::max(cuda::embed_backward_workspace(tokens), cuda::split_backward_workspace(split));
  const std::size_t allocated = cuda::Matmul::kWorkspaceBytes + scratch;
  return {allocated, allocated + kCode + graph, 0};
}

void CudaBackend::copy(const Matrix& from, const Matrix& to) {
  queue([&](cudaStream_t stream) { return cuda::convert(from, to, stream); });
}

void CudaBackend::zero(void* data, std::size_t bytes) {
  queue([&](cudaStream_t stream) {
    return cuda_status(cudaMemsetAsync(data, 0, bytes, stream), "filling with zeros");
  });
}

Status CudaBackend::product_onto(MatmulForm form, double alpha, const Matrix& a, const Matrix& b,
                                 double beta, const Matrix& c, const Matrix& out,
                                 cudaStream_t stream) {
  if (out.rows == 0 || out.cols == 0) return {};
  if (a.rows == 0 || a.cols == 0) return cuda::scale(beta, out, stream);
  const bool few = form == MatmulForm::kNT && a.rows <= cuda::kMostFewRows && c.dtype == a.dtype;
  if (few && cuda::few_rows(a, b)) {
    return cuda::few_rows_product(alpha, a, b, beta, c, out, {.stream = stream});
  }
  if (few && c.data == out.data) return cuda::gemv(alpha, a, b, beta, out, stream);
  TNL_ASSIGN(cuda::Matmul* const matmul, products());
  if (b.dtype == a.dtype) return matmul->run(form, alpha, a, b, beta, c, out, stream);
  const auto bytes = static_cast<std::size_t>(b.rows * b.cols * dtype_size(a.dtype));
  TNL_ASSIGN(void* const memory, scratch(bytes));
  const Matrix widened = Matrix::contiguous(memory, a.dtype, b.rows, b.cols);
  TNL_TRY(cuda::convert(b, widened, stream));
  return matmul->run(form, alpha, a, widened, beta, c, out, stream);
}

void CudaBackend::matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b,
                         double beta, const Matrix& c) {
  queue([&](cudaStream_t stream) { return product_onto(form, alpha, a, b, beta, c, c, stream); });
}

void CudaBackend::matmul_onto(const Matrix& residual, const Matrix& a, const Matrix& b,
                              const Matrix& c) {
  if (cuda::few_rows(a, b)) {
    return queue([&](cudaStream_t stream) {
      return cuda::few_rows_product(1, a, b, 1, residual, c, overlapping(stream));
    });
  }
  if (a.rows <= cuda::kMostFewRows || residual.row_stride != c.row_stride) {
    return Backend::matmul_onto(residual, a, b, c);
  }
  queue([&](cudaStream_t stream) {
    return product_onto(MatmulForm::kNT, 1.0, a, b, 1.0, residual, c, stream);
  });
}

void CudaBackend::project(const ProjectArgs& args) {
  const bool both = !args.gate_low.given() || cuda::few_rows(args.x, args.gate_down);
  if (!both || !args.split.mask.empty() || !cuda::few_rows(args.x, args.weights)) {
    return Backend::project(args);
  }
  queue([&](cudaStream_t stream) { return cuda::few_rows_project(args, overlapping(stream)); });
  projected_ = !args.gate_low.given();  // else gate_up's product comes between
}

void CudaBackend::gate_onto(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                            const Matrix& gated, const Matrix& weights, const Matrix& residual,
                            const Matrix& out) {
  if (!cuda::few_rows(o, weights) || !cuda::few_rows(u, weights)) {
    return Backend::gate_onto(kind, o, u, eps, gated, weights, residual, out);
  }
  queue([&](cudaStream_t stream) {
    return cuda::few_rows_gate_onto(kind, o, u, eps, weights, residual, out, overlapping(stream));
  });
}

void CudaBackend::norm_glu(const Matrix& x, double eps, const Matrix& normed, const Matrix& weights,
                           const Matrix& both, const Matrix& product) {
  if (!cuda::few_rows(x, weights)) {
    return Backend::norm_glu(x, eps, normed, weights, both, product);
  }
  queue([&](cudaStream_t stream) {
    return cuda::few_rows_glu(x, eps, weights, both, product, overlapping(stream));
  });
}

void CudaBackend::norm_matmul(const Matrix& x, double eps, const Matrix& normed,
                              const Matrix& weights, const Matrix& y) {
  if (!cuda::few_rows(x, weights) || y.dtype != x.dtype) {
    return Backend::norm_matmul(x, eps, normed, weights, y);
  }
  queue([&](cudaStream_t stream) {
    return cuda::few_rows_norm_product(x, eps, weights, y, overlapping(stream));
  });
}

void CudaBackend::embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
                        const Matrix& out) {
  queue([&](cudaStream_t stream) { return cuda::embed(table, ids.data(), scale, out, stream); });
}

void CudaBackend::embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids,
                                 double scale, std::int64_t skip_id, const Matrix& d_table) {
  queue([&](cudaStream_t stream) -> Status {
    TNL_ASSIGN(void* const memory, scratch(cuda::embed_backward_workspace(d_out.rows)));
    return cuda::embed_backward(d_out, ids.data(), scale, skip_id, d_table, memory, stream);
  });
}

void CudaBackend::srmsnorm(const Matrix& x, double eps, const Matrix& y) {
  queue([&](cudaStream_t stream) { return cuda::srmsnorm(x, eps, y, stream); });
}

void CudaBackend::srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                                    const Matrix& dx, const Matrix& y) {
  queue([&](cudaStream_t stream) {
    return cuda::srmsnorm_backward(x, dy, eps, accumulate, dx, y, stream);
  });
}

void CudaBackend::split(const SplitArgs& args) {
  queue([&](cudaStream_t stream) { return cuda::split(args, stream); });
}

void CudaBackend::split_backward(const SplitArgs& args, const Matrix& d_projection,
                                 const Matrix& d_theta) {
  queue([&](cudaStream_t stream) -> Status {
    TNL_ASSIGN(void* const memory, scratch(cuda::split_backward_workspace(args)));
    return cuda::split_backward(args, d_projection, d_theta, memory, stream);
  });
}

void CudaBackend::norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                            const Matrix& y) {
  queue([&](cudaStream_t stream) { return cuda::norm_gate(kind, o, u, eps, y, stream); });
}

void CudaBackend::norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u,
                                     const Matrix& dy, double eps, const Matrix& d_o,
                                     const Matrix& d_u, const Matrix& y) {
  queue([&](cudaStream_t stream) {
    return cuda::norm_gate_backward(kind, o, u, dy, eps, d_o, d_u, y, stream);
  });
}

void CudaBackend::product(const Matrix& a, const Matrix& b, const Matrix& y) {
  queue([&](cudaStream_t stream) { return cuda::product(a, b, y, stream); });
}

void CudaBackend::product_backward(const Matrix& a, const Matrix& b, const Matrix& dy,
                                   const Matrix& da, const Matrix& db, const Matrix& y) {
  queue([&](cudaStream_t stream) { return cuda::product_backward(a, b, dy, da, db, y, stream); });
}

void CudaBackend::cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                                const double* d_scale, std::span<double> losses) {
  queue([&](cudaStream_t stream) {
    return cuda::cross_entropy(logits, targets.data(), d_scale, losses.data(), stream);
  });
}

void CudaBackend::adamw(const AdamWArgs& args) {
  queue([&](cudaStream_t stream) { return cuda::adamw(args, stream); });
}

double CudaBackend::sum_of_squares(std::span<const float> values) {
  double result = std::numeric_limits<double>::quiet_NaN();
  const auto count = static_cast<std::int64_t>(values.size());
  queue([&](cudaStream_t stream) -> Status {
    constexpr std::size_t kSumBytes = 256;
    TNL_ASSIGN(void* const memory, scratch(kSumBytes + cuda::sum_of_squares_workspace(count)));
    auto* sum = static_cast<double*>(memory);
    TNL_TRY(cuda::sum_of_squares(values.data(), count, sum, static_cast<char*>(memory) + kSumBytes,
                                 stream));
    TNL_TRY(
        cuda_status(cudaMemcpyAsync(&result, sum, sizeof(result), cudaMemcpyDeviceToHost, stream),
                    "fetching a sum"));
    return cuda_status(cudaStreamSynchronize(stream), "summing squares");
  });
  return failed_.ok() ? result : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace tnl
