#include "infer/batch_prefill.h"

#include <algorithm>
#include <utility>

#include "backend/backend.h"
#include "core/try.h"

namespace tnl {

Result<BatchPrefill> BatchPrefill::create(const Model& model, std::int64_t chunk) {
  const std::int64_t few = std::min(chunk, model.device().backend().most_invariant_rows());
  TNL_ASSIGN(Execution packed, Execution::create(model, {.tokens = few, .sequences = few}));
  return BatchPrefill(model, chunk, std::move(packed));
}

Result<Execution*> BatchPrefill::alone() {
  if (!alone_) {
    TNL_ASSIGN(alone_, Execution::create(model_, {.tokens = chunk_, .sequences = 1}));
  }
  return &*alone_;
}

std::span<float> BatchPrefill::row(std::span<float> logits, std::int64_t index) const {
  const auto width = static_cast<std::size_t>(model_.config().vocab_size);
  return logits.subspan(static_cast<std::size_t>(index) * width, width);
}

Status BatchPrefill::read(std::span<const std::span<const std::int32_t>> prompts,
                          ModelState& states, std::span<float> logits,
                          const std::function<bool()>& keep_going) {
  const auto few =
      static_cast<std::size_t>(std::min(chunk_, model_.device().backend().most_invariant_rows()));
  const auto check = [&]() -> Status {
    return keep_going && !keep_going() ? Status(StatusCode::kInterrupted, "interrupted") : Status();
  };
  states.reset();
  // A pass of a token is a step of its own kind: it shares a pass with its like alone.
  std::vector<Rest> steps, rests;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto sequence = static_cast<std::int64_t>(i);
    std::span<const std::int32_t> left = prompts[i];
    while (left.size() > few) {
      TNL_TRY(check());
      const std::size_t count = std::min(left.size(), static_cast<std::size_t>(chunk_));
      ModelState state = states.part(sequence, 1);
      const std::int64_t cu_seqlens[] = {0, static_cast<std::int64_t>(count)};
      TNL_ASSIGN(Execution* const execution, alone());
      const bool last = count == left.size();
      TNL_TRY(execution->forward({.tokens = left.first(count), .cu_seqlens = cu_seqlens}, &state,
                                 last ? row(logits, sequence) : std::span<float>()));
      states.positions()[i] = state.positions()[0];
      left = left.subspan(count);
    }
    if (left.size() == 1) steps.push_back({sequence, left});
    if (left.size() > 1) rests.push_back({sequence, left});
  }
  for (const std::vector<Rest>* const kind : {&steps, &rests}) {
    for (std::size_t first = 0; first < kind->size();) {
      // Neighbours in the states as well: they are one part.
      std::size_t end = first, tokens = 0;
      while (end < kind->size() && tokens + (*kind)[end].tokens.size() <= few &&
             (end == first || (*kind)[end].sequence == (*kind)[end - 1].sequence + 1)) {
        tokens += (*kind)[end++].tokens.size();
      }
      TNL_TRY(check());
      TNL_TRY(read_packed(std::span(*kind).subspan(first, end - first), states, logits));
      first = end;
    }
  }
  return {};
}

Status BatchPrefill::read_packed(std::span<const Rest> rests, ModelState& states,
                                 std::span<float> logits) {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> cu_seqlens = {0};
  for (const Rest& rest : rests) {
    tokens.insert(tokens.end(), rest.tokens.begin(), rest.tokens.end());
    cu_seqlens.push_back(static_cast<std::int64_t>(tokens.size()));
  }
  const std::int64_t first = rests.front().sequence;
  const auto count = static_cast<std::int64_t>(rests.size());
  ModelState part = states.part(first, count);
  const std::size_t width = row(logits, 0).size();
  TNL_TRY(packed_.forward({.tokens = tokens, .cu_seqlens = cu_seqlens}, &part,
                          logits.subspan(static_cast<std::size_t>(first) * width,
                                         static_cast<std::size_t>(count) * width)));
  std::copy(part.positions().begin(), part.positions().end(), states.positions().begin() + first);
  return {};
}

}  // namespace tnl
