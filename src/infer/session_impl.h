// What session.cc and session_file.cc share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/execution.h"
#include "tnl/session.h"

namespace tnl {

struct Session::Impl {
  static Result<std::unique_ptr<Impl>> create(const Model& model, std::int64_t prefill_chunk,
                                              ModelState state);

  Impl(const Model& model, std::int64_t prefill_chunk, ModelState state, Execution step)
      : model(model),
        prefill_chunk(prefill_chunk),
        state(std::move(state)),
        step(std::move(step)),
        logits(model.config().vocab_size) {}

  Status check(std::span<const std::int32_t> tokens) const;
  Result<Execution*> execution(std::int64_t tokens);
  Status forward(std::span<const std::int32_t> tokens, bool want_logits);
  void remember(std::span<const std::int32_t> tokens);

  Model model;
  std::int64_t prefill_chunk;
  ModelState state;
  Execution step;                    // passes of one token
  std::optional<Execution> prefill;  // longer ones; a fork that only generates never needs it
  std::vector<float> logits;
  std::vector<std::int32_t> recent;  // up to twice kRecentTokens, so that trimming is rare
};

}  // namespace tnl
