// Reads the prompts of a batch, cut into the same passes as Session::feed() cuts each alone, so
// that it leaves the same bits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "model/execution.h"
#include "tnl/model.h"
#include "tnl/status.h"

namespace tnl {

class BatchPrefill {
 public:
  static Result<BatchPrefill> create(const Model& model, std::int64_t chunk);

  // Reads prompts[i] into the zero state of sequence i and writes what it predicts to row i of
  // `logits`, [prompts, vocab]. As many prompts as states has sequences. `keep_going`: asked before
  // every pass; false is kInterrupted.
  Status read(std::span<const std::span<const std::int32_t>> prompts, ModelState& states,
              std::span<float> logits, const std::function<bool()>& keep_going);

 private:
  // The last pass of a prompt, which is short enough to share it with others.
  struct Rest {
    std::int64_t sequence;
    std::span<const std::int32_t> tokens;
  };
  BatchPrefill(const Model& model, std::int64_t chunk, Execution packed)
      : model_(model), chunk_(chunk), packed_(std::move(packed)) {}

  Result<Execution*> alone();
  // One pass for all of `rests`.
  Status read_packed(std::span<const Rest> rests, ModelState& states, std::span<float> logits);
  std::span<float> row(std::span<float> logits, std::int64_t index) const;

  Model model_;
  std::int64_t chunk_;
  Execution packed_;                // of few tokens
  std::optional<Execution> alone_;  // of up to a chunk, one sequence
};

}  // namespace tnl
