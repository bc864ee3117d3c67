// Runs a model over packed batches of tokens: forward with states carried, and the training step's
// loss with gradients, in one pass or in chunks. Owns every activation; memory is taken once, for
// the largest pass promised.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tnl/model.h"
#include "tnl/status.h"

namespace tnl {

// Sequences one behind the other: sequence n holds tokens [cu_seqlens[n], cu_seqlens[n + 1]).
struct TokenBatch {
  std::span<const std::int32_t> tokens = {};      // [total], 0 <= id < vocab_size
  std::span<const std::int64_t> cu_seqlens = {};  // [N + 1]
  std::span<const std::int32_t> targets =
      {};                                   // [total], -1 is ignored; empty where no loss is asked
  std::span<const std::uint8_t> mask = {};  // [total], 0 = padding (zeroes v); empty: none
};

// A batch of any length that is read piece by piece: none of it needs to be in memory as a whole.
struct LongBatch {
  std::span<const std::int64_t> cu_seqlens = {};  // [N + 1]
  // Tokens [begin, end) with their targets and mask, counted from the beginning of the batch;
  // cu_seqlens of what it returns is not looked at. Valid until the next call. Every token is asked
  // for once or twice, at most Limits::tokens at a time.
  std::function<Result<TokenBatch>(std::int64_t begin, std::int64_t end)> read = {};
};

// The whole memory of N running texts.
class ModelState {
 public:
  // Zero states at position 0: the beginning of a text.
  static Result<ModelState> create(const Model& model, std::int64_t sequences);
  ModelState(ModelState&&) noexcept = default;
  ModelState& operator=(ModelState&&) noexcept = default;

  // Of the states of so many texts, on their device.
  static std::size_t bytes_of(const ModelConfig& config, const Device& device,
                              std::int64_t sequences);

  std::int64_t sequences() const { return static_cast<std::int64_t>(positions_.size()); }
  std::span<std::int64_t> positions() { return positions_; }
  std::span<const std::int64_t> positions() const { return positions_; }
  // [N, H, K, V] of the layer, of the backend's sum_dtype, in memory of the device.
  const TensorView& layer(std::int64_t index) const { return layers_[index]; }
  std::int64_t layers() const { return static_cast<std::int64_t>(layers_.size()); }
  // Sequences [first, first + count) of this one: the same memory, positions of its own.
  ModelState part(std::int64_t first, std::int64_t count) const;
  // All layers as one block of the host, for who keeps states elsewhere. Not of a part.
  std::size_t bytes() const { return buffer_->bytes(); }
  Status copy_to(void* block) const;
  Status copy_from(const void* block);
  Result<ModelState> copy() const;
  // Sequence `to` becomes what sequence `from` of `other`, a state of the same model, is.
  void copy_sequence(const ModelState& other, std::int64_t from, std::int64_t to);
  void reset();

 private:
  explicit ModelState(const Device& device) : device_(device) {}
  ModelState(const ModelState&) = default;  // shares the memory: for part()
  bool whole() const;

  Device device_;
  std::shared_ptr<DeviceBuffer> buffer_;
  std::vector<TensorView> layers_;
  std::vector<std::int64_t> positions_;
};

// Gradients in f32 (f64 on reference), in memory of the device, laid out as Model::parameters().
class Gradients {
 public:
  static Result<Gradients> create(const Model& model);
  void zero();
  // The gradient of parameters()[index].
  const TensorView& tensor(std::size_t index) const { return tensors_[index]; }
  std::size_t count() const { return tensors_.size(); }
  // All of them as one array; f32 backends only.
  std::span<float> flat();
  void* data() const;  // of the first

 private:
  explicit Gradients(const Device& device) : device_(device) {}

  Device device_;
  DeviceBuffer buffer_;
  std::vector<TensorView> tensors_;
};

// What a training pass computes again in its backward half in place of keeping it. The results are
// the same bits.
enum class Recompute {
  kNone,
  kSelective,  // q, k, v from the projection
  kFull,       // a layer from its input: about a third more work
};

struct LossSum {
  double sum = 0;            // nats over all targets that count
  std::int64_t targets = 0;  // how many count
};

class Execution {
 public:
  struct Limits {
    std::int64_t tokens = 0;     // of one pass
    std::int64_t sequences = 0;  // of one pass
    bool training = false;       // keep what the backward pass needs
    Recompute recompute = Recompute::kNone;
    // Training passes are recorded when their shapes come again (on a GPU as a CUDA graph). The
    // results are the same bits.
    bool replay = true;
    // Where the states between the chunks of a long batch go: memory up to so many bytes, the rest
    // to a file in this directory that has no name and goes away with the process.
    std::size_t state_memory = std::size_t{64} << 20;
    std::filesystem::path state_directory = ".";
  };
  // What an execution takes of its device, in bytes.
  struct Memory {
    std::size_t activations = 0;
    std::size_t tokens = 0;     // their ids and losses
    std::size_t states = 0;     // of long batches, at both ends of a chunk
    std::size_t workspace = 0;  // of the attention operator
    std::size_t all() const { return activations + tokens + states + workspace; }
  };
  // That of one which trains a model of `config` on batches of these lengths of sequences, longer
  // ones than a pass cut. Takes nothing.
  static Result<Memory> plan(const ModelConfig& config, const Device& device, const Limits& limits,
                             std::span<const std::int64_t> lengths);
  static Result<Execution> create(const Model& model, const Limits& limits);
  ~Execution();
  Execution(Execution&&) noexcept;
  Execution& operator=(Execution&&) noexcept;

  std::size_t activation_bytes() const;

  // Advances `state` (one entry a sequence of the batch; nullptr: every sequence starts at zero and
  // its end is dropped). Where `logits` is not empty it gets the logits of the last token of every
  // sequence, [N, vocab]; with `all_logits`, of every token, [total, vocab].
  Status forward(const TokenBatch& batch, ModelState* state, std::span<float> logits,
                 bool all_logits = false);
  // As forward; losses[t] = -ln p(targets[t]) in nats, 0 where ignored. [total]
  Status losses(const TokenBatch& batch, ModelState* state, std::span<double> losses);

  // Adds loss_scale * d(sum of losses) / d(parameter) to `gradients` and returns the sum of the
  // losses. Every sequence starts at position 0 with a zero state. Needs Limits::training.
  Result<LossSum> loss_and_gradients(const TokenBatch& batch, double loss_scale,
                                     Gradients& gradients);

  // The same for a batch of any length, in chunks of at most Limits::tokens: forward over the
  // chunks of a sequence with only the states between them kept, then backward over the chunks from
  // the last to the first, each computed again, the gradient of the state carried along. Exact: the
  // same sums as in one pass, added in another order. Sequences that fit into a chunk are never
  // cut. `progress` gets the share of the work that is done after every pass; false stops, which is
  // kInterrupted and leaves `gradients` unfinished.
  Result<LossSum> loss_and_gradients(const LongBatch& batch, double loss_scale,
                                     Gradients& gradients,
                                     const std::function<bool(double)>& progress = {});
  // `use` gets every chunk with the losses of its tokens.
  Status losses(const LongBatch& batch,
                const std::function<void(const TokenBatch&, std::span<const double>)>& use);

 private:
  struct Impl;
  explicit Execution(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tnl
