// Batches longer than a pass (docs/math.md, section 6): forward over the chunks of a sequence with
// the states between them kept, then back from the last to the first, each computed again.
#include <algorithm>
#include <utility>

#include "core/try.h"
#include "model/execution_impl.h"
#include "model/long_batch.h"

namespace tnl {
namespace {

// Of a token; a backward pass costs about two forward passes.
constexpr double kForwardWork = 1, kGradientWork = 3;

Status check_long(const LongBatch& batch) {
  const auto& offsets = batch.cu_seqlens;
  if (!offsets.empty() && offsets.front() == 0 && std::is_sorted(offsets.begin(), offsets.end())) {
    return {};
  }
  return invalid_argument("batch: cu_seqlens: expected rising numbers from 0");
}

// Whether the state at the start of a chunk was kept for the way back.
bool kept_start(const Chunk& chunk) {
  return chunk.continues && chunk.continued;
}

// The chunks of a long batch, as passes can take them.
class ChunkReader {
 public:
  ChunkReader(const LongBatch& batch, std::int64_t tokens)
      : batch_(batch), cuts_(batch.cu_seqlens, tokens) {}

  std::int64_t count() const { return cuts_.count(); }
  Chunk chunk(std::int64_t index) const { return cuts_.chunk(index); }
  // Valid until the next call.
  Result<TokenBatch> read(const Chunk& chunk) {
    TNL_ASSIGN(TokenBatch tokens, batch_.read(chunk.begin, chunk.end));
    cuts_.sequences(chunk, cu_seqlens_);
    tokens.cu_seqlens = cu_seqlens_;
    return tokens;
  }

 private:
  const LongBatch& batch_;
  ChunkCuts cuts_;
  std::vector<std::int64_t> cu_seqlens_;
};

// How much of the work is done.
class Work {
 public:
  Work(const ChunkReader& reader, const std::function<bool(double)>& progress)
      : progress_(progress) {
    for (std::int64_t i = 0; i < reader.count(); ++i) {
      const Chunk chunk = reader.chunk(i);
      all_ += static_cast<double>(chunk.tokens()) *
              (kGradientWork + (chunk.continued ? kForwardWork : 0));
    }
  }

  Status done(const Chunk& chunk, double work) {
    done_ += work * static_cast<double>(chunk.tokens());
    if (!progress_ || progress_(std::min(1.0, done_ / all_))) return {};
    return interrupted("stopped between two chunks of a batch");
  }

 private:
  const std::function<bool(double)>& progress_;
  double all_ = 0, done_ = 0;
};

}  // namespace

Status Execution::Impl::prepare_carry() {
  if (carry) return {};
  TNL_ASSIGN(ModelState state, ModelState::create(model, 1));
  TNL_ASSIGN(ModelState d_end, ModelState::create(model, 1));
  TNL_ASSIGN(ModelState d_start, ModelState::create(model, 1));
  const std::size_t bytes = state.bytes();
  TNL_ASSIGN(TransferBuffer record,
             TransferBuffer::allocate(backend, bytes, "the state between two chunks"));
  carry.emplace(ChunkCarry{
      std::move(state), std::move(d_end), std::move(d_start),
      RecordStack(bytes, limits.state_memory, limits.state_directory, "the states between chunks"),
      std::move(record)});
  return {};
}

// Before a chunk that will be gone back over: its start is kept, then the state moves to its end.
// On a GPU the stack gets the start while the pass runs.
Status Execution::Impl::forward_chunk(const Chunk& chunk, const TokenBatch& batch) {
  TNL_TRY(prepare_carry());
  if (chunk.continues) TNL_TRY(carry->state.copy_to(carry->record.data()));
  const StateLinks links{.first = chunk.continues ? &carry->state : nullptr, .last = &carry->state};
  TNL_TRY(begin(batch, links, /*need_targets=*/true));
  TNL_TRY(
      run_pass(forward_passes, pass_key(batch, links, nullptr), [this] { return queue_layers(); }));
  advance(batch, links);
  return chunk.continues ? carry->starts.push(carry->record.data()) : Status();
}

// carry->state is that at the start of the chunk, carry->d_end the gradient at its end; that at its
// start takes the place of the latter.
Result<LossSum> Execution::Impl::chunk_gradients(const Chunk& chunk, const TokenBatch& batch,
                                                 double loss_scale, Gradients& gradients,
                                                 bool fetch_start) {
  StateLinks links;
  if (chunk.continues) {
    carry->state.positions()[0] = chunk.position;
    links.first = &carry->state;
    links.d_first = &carry->d_start;
  }
  if (chunk.continued) links.d_last = &carry->d_end;
  TNL_TRY(begin(batch, links, /*need_targets=*/true, loss_scale));
  TNL_TRY(forward_backward(batch, links, gradients));
  if (fetch_start) TNL_TRY(carry->starts.pop(carry->record.data()));
  TNL_ASSIGN(const LossSum loss, fetch_loss(batch));
  if (chunk.continues) carry->d_end.copy_sequence(carry->d_start, 0, 0);
  return loss;
}

Result<LossSum> Execution::loss_and_gradients(const LongBatch& batch, double loss_scale,
                                              Gradients& gradients,
                                              const std::function<bool(double)>& progress) {
  Impl& self = *impl_;
  TNL_TRY(self.check_training());
  TNL_TRY(check_long(batch));
  if (self.carry) self.carry->starts.clear();  // what an interrupted call left
  ChunkReader reader(batch, self.limits.tokens);
  Work work(reader, progress);
  LossSum sum;
  // Chunks that a cut sequence joins go together; nothing crosses from one such group to the next.
  for (std::int64_t first = 0, last = 0; first < reader.count(); first = ++last) {
    for (Chunk chunk = reader.chunk(last); chunk.continued; chunk = reader.chunk(++last)) {
      TNL_ASSIGN(const TokenBatch tokens, reader.read(chunk));
      TNL_TRY(self.forward_chunk(chunk, tokens));
      TNL_TRY(work.done(chunk, kForwardWork));
    }
    for (std::int64_t index = last; index >= first; --index) {
      const Chunk chunk = reader.chunk(index);
      // The start of the last one is where the forward pass has ended.
      if (kept_start(chunk)) TNL_TRY(self.carry->state.copy_from(self.carry->record.data()));
      const bool fetch_start = index > first && kept_start(reader.chunk(index - 1));
      TNL_ASSIGN(const TokenBatch tokens, reader.read(chunk));
      TNL_ASSIGN(const LossSum loss,
                 self.chunk_gradients(chunk, tokens, loss_scale, gradients, fetch_start));
      sum.sum += loss.sum;
      sum.targets += loss.targets;
      TNL_TRY(work.done(chunk, kGradientWork));
    }
  }
  return sum;
}

Status Execution::losses(
    const LongBatch& batch,
    const std::function<void(const TokenBatch&, std::span<const double>)>& use) {
  Impl& self = *impl_;
  TNL_TRY(check_long(batch));
  ChunkReader reader(batch, self.limits.tokens);
  for (std::int64_t index = 0; index < reader.count(); ++index) {
    const Chunk chunk = reader.chunk(index);
    if (chunk.continued) TNL_TRY(self.prepare_carry());
    ModelState* const state = self.carry ? &self.carry->state : nullptr;
    TNL_ASSIGN(const TokenBatch tokens, reader.read(chunk));
    const StateLinks links{.first = chunk.continues ? state : nullptr,
                           .last = chunk.continued ? state : nullptr};
    TNL_TRY(self.begin(tokens, links, /*need_targets=*/true));
    self.token_losses.resize(tokens.tokens.size());
    TNL_TRY(self.run_layers(tokens, links));
    TNL_TRY(self.losses_of_output(self.token_losses));
    use(tokens, self.token_losses);
  }
  return {};
}

}  // namespace tnl
