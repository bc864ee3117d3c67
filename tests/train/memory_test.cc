// What train_memory promises is what the pieces of a run take.
#include <gtest/gtest.h>

#include "backend/backend.h"
#include "model/execution.h"
#include "train/optimizer.h"
#include "train/setup.h"
#include "train/tiny_run.h"

namespace tnl {
namespace {

using test::take;
using test::TinyRun;

TEST(TrainMemory, IsWhatTheRunTakes) {
  TinyRun tiny;
  std::size_t promised = 0;
  for (const MemoryItem& item : take(train_memory(tiny.config, tiny.device))) {
    if (item.name != "workspace") promised += item.bytes;
  }
  std::vector<std::string> notes;
  const TrainData data = take(open_train_data(tiny.config));
  Model model = take(make_train_model(tiny.config, data, tiny.device, notes));
  Gradients gradients = take(Gradients::create(model));
  const std::int64_t tokens = tokens_per_pass(tiny.config);
  const Execution execution =
      take(Execution::create(model, {.tokens = tokens, .sequences = tokens, .training = true}));
  const Optimizer optimizer =
      take(Optimizer::create(tiny.device, optimizer_tensors(model, model, gradients), {}));
  const std::size_t parameters = gradients.flat().size_bytes();
  const std::size_t taken = 2 * parameters + optimizer.bytes() + execution.activation_bytes();
  EXPECT_GE(promised, taken);
  EXPECT_LE(promised, taken + 32 * static_cast<std::size_t>(tokens));
}

TEST(TrainMemory, GrowsWithTheTokensOfAPass) {
  TinyRun tiny;
  const auto activations = [&] {
    for (const MemoryItem& item : take(train_memory(tiny.config, tiny.device))) {
      if (item.name == "activations") return item.bytes;
    }
    return std::size_t{0};
  };
  const std::size_t all = activations();
  tiny.config.sequence_chunk = 16;
  EXPECT_LT(activations(), all / 3);
}

}  // namespace
}  // namespace tnl
