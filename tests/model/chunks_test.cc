// Training in chunks is training in one pass: the same loss and gradient, whatever the lengths.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/backend.h"
#include "backend/host_copy.h"
#include "core/convert.h"
#include "model/execution.h"
#include "model/long_batch.h"
#include "model/model_cases.h"
#include "support/require.h"
#include "support/temporary_directory.h"

namespace tnl {
namespace {

using test::NamedConfig;
using test::OwnedBatch;
using test::random_batch;
using test::take;

// Reads the batch piece by piece, never more than `most` tokens.
LongBatch long_batch(const OwnedBatch& batch, std::int64_t most) {
  return {.cu_seqlens = batch.cu_seqlens,
          .read = [&batch, most](std::int64_t begin, std::int64_t end) -> Result<TokenBatch> {
            EXPECT_LE(end - begin, most);
            const auto first = static_cast<std::size_t>(begin);
            const auto count = static_cast<std::size_t>(end - begin);
            TokenBatch piece{.tokens = std::span(batch.tokens).subspan(first, count),
                             .cu_seqlens = {},
                             .targets = std::span(batch.targets).subspan(first, count),
                             .mask = {}};
            if (!batch.mask.empty()) piece.mask = std::span(batch.mask).subspan(first, count);
            return piece;
          }};
}

std::vector<double> values(const TensorView& view, Backend& backend) {
  std::vector<double> result(static_cast<std::size_t>(view.elements()));
  const auto bytes = result.size() * static_cast<std::size_t>(dtype_size(view.dtype));
  const HostCopy host = take(HostCopy::download(backend, view.data, bytes));
  convert(host.data(), view.dtype, result.data(), DType::kF64, view.elements());
  return result;
}

double relative_rms(const std::vector<double>& found, const std::vector<double>& expected) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(error / std::max(norm, 1e-300));
}

struct Trained {
  LossSum loss;
  Gradients gradients;
};

Trained whole(const Model& model, const OwnedBatch& batch) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  Execution execution =
      take(Execution::create(model, {.tokens = tokens, .sequences = 64, .training = true}));
  Trained result{.loss = {}, .gradients = take(Gradients::create(model))};
  result.loss = take(execution.loss_and_gradients(batch.view(), 0.01, result.gradients));
  return result;
}

Trained chunked(const Model& model, const OwnedBatch& batch, std::int64_t chunk,
                std::size_t state_memory = std::size_t{1} << 30) {
  const test::TemporaryDirectory directory;
  Execution execution = take(Execution::create(model, {.tokens = chunk,
                                                       .sequences = chunk,
                                                       .training = true,
                                                       .state_memory = state_memory,
                                                       .state_directory = directory.path()}));
  Trained result{.loss = {}, .gradients = take(Gradients::create(model))};
  result.loss =
      take(execution.loss_and_gradients(long_batch(batch, chunk), 0.01, result.gradients));
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  return result;
}

// Every tensor, and all but the following as one vector. The gradient of an LRPE frequency is a sum
// of terms that grow with the position and cancel, since scores depend on distances alone: in fp32
// it is off by several times more than the others however it is computed.
void expect_equal(const Model& model, const Trained& found, const Trained& expected,
                  double tolerance) {
  EXPECT_EQ(found.loss.targets, expected.loss.targets);
  EXPECT_NEAR(found.loss.sum, expected.loss.sum, tolerance * expected.loss.sum);
  std::vector<double> all_found, all_expected;
  for (std::size_t i = 0; i < expected.gradients.count(); ++i) {
    const std::string& name = model.parameters()[i].name;
    const std::vector<double> a = values(found.gradients.tensor(i), model.device().backend());
    const std::vector<double> b = values(expected.gradients.tensor(i), model.device().backend());
    const bool cancels = model.device().properties().kind == DeviceKind::kCpu &&
                         name.find("theta") != std::string::npos;
    EXPECT_LE(relative_rms(a, b), cancels ? 10 * tolerance : tolerance) << name;
    if (cancels) continue;
    all_found.insert(all_found.end(), a.begin(), a.end());
    all_expected.insert(all_expected.end(), b.begin(), b.end());
  }
  EXPECT_LE(relative_rms(all_found, all_expected), tolerance);
}

class ChunkedTraining : public testing::TestWithParam<NamedConfig> {};

TEST_P(ChunkedTraining, EqualsOnePassInFp64) {
  const Model model = take(Model::create(GetParam().config, take(Device::open("reference")), 7));
  OwnedBatch batch = random_batch(GetParam().config, {23, 1, 0, 70, 9, 10, 2}, 3);
  batch.mask.assign(batch.tokens.size(), 1);
  batch.mask[0] = batch.mask[31] = 0;
  const Trained expected = whole(model, batch);
  for (const std::int64_t chunk : {1, 7, 10, 23, 64, 114, 115, 500}) {
    SCOPED_TRACE(chunk);
    expect_equal(model, chunked(model, batch, chunk), expected, 1e-11);
  }
}

TEST_P(ChunkedTraining, EqualsOnePassOnTheCpu) {
  const Device device = take(Device::open("cpu", {.threads = 2, .cpu_target = ""}));
  ModelConfig config = GetParam().config;
  config.init_std = 0.1;
  const Model model = take(Model::create(config, device, 5));
  // One text of 8192 tokens; then several of different lengths, and chunks that divide nothing.
  const OwnedBatch one = random_batch(config, {8192}, 9);
  const Trained expected = whole(model, one);
  expect_equal(model, chunked(model, one, 512), expected, 1e-5);
  expect_equal(model, chunked(model, one, 600), expected, 1e-5);
  const OwnedBatch several = random_batch(config, {300, 5000, 1, 511, 1700, 680}, 10);
  expect_equal(model, chunked(model, several, 512), whole(model, several), 1e-5);
}

class GpuChunkedTraining : public ChunkedTraining {};

TEST_P(GpuChunkedTraining, EqualsOnePassInF32) {
  const auto device =
      Device::open("cuda", {.threads = 2, .cpu_target = {}, .gpu_compute = DType::kF32});
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  ModelConfig config = GetParam().config;
  config.init_std = 0.1;
  const Model model = take(Model::create(config, *device, 5));
  const OwnedBatch one = random_batch(config, {8192}, 9);
  const Trained expected = whole(model, one);
  expect_equal(model, chunked(model, one, 512), expected, 1e-5);
  expect_equal(model, chunked(model, one, 600, 0), expected, 1e-5);
  const OwnedBatch several = random_batch(config, {300, 5000, 1, 511, 1700, 680}, 10);
  expect_equal(model, chunked(model, several, 512), whole(model, several), 1e-5);
}

TEST_P(ChunkedTraining, LossesAreThoseOfOnePass) {
  const Device device = take(Device::open("cpu", {.threads = 2, .cpu_target = ""}));
  const Model model = take(Model::create(GetParam().config, device, 5));
  const OwnedBatch batch = random_batch(GetParam().config, {40, 7, 130, 3}, 4);
  Execution execution = take(Execution::create(model, {.tokens = 180, .sequences = 180}));
  std::vector<double> expected(batch.tokens.size());
  EXPECT_OK(execution.losses(batch.view(), nullptr, expected));
  Execution pieces = take(Execution::create(model, {.tokens = 16, .sequences = 16}));
  std::vector<double> found;
  EXPECT_OK(pieces.losses(long_batch(batch, 16),
                          [&](const TokenBatch& chunk, std::span<const double> losses) {
                            EXPECT_EQ(chunk.targets.size(), losses.size());
                            found.insert(found.end(), losses.begin(), losses.end());
                          }));
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t t = 0; t < found.size(); ++t) EXPECT_NEAR(found[t], expected[t], 2e-4) << t;
}

std::vector<NamedConfig> cases() {
  std::vector<NamedConfig> cases;
  for (const bool lrpe : {true, false}) {
    for (const Generation generation : {Generation::kTnl, Generation::kTnl3}) {
      ModelConfig config = test::small_config(generation);
      config.lrpe = {static_cast<std::uint8_t>(lrpe), 0};
      const std::string name = generation == Generation::kTnl ? "tnl" : "tnl3";
      cases.push_back({name + (lrpe ? "_lrpe" : "_no_lrpe"), config});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, ChunkedTraining, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(All, GpuChunkedTraining, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

// Where the states lie decides nothing.
TEST(ChunkedTrainingStates, InMemoryOrInAFileGiveTheSameBits) {
  const Device device = take(Device::open("cpu", {.threads = 2, .cpu_target = ""}));
  const Model model = take(Model::create(test::small_config(), device, 5));
  const OwnedBatch batch = random_batch(model.config(), {900, 40, 300}, 2);
  Trained expected = chunked(model, batch, 64);
  const std::size_t state = take(ModelState::create(model, 1)).bytes();
  for (const std::size_t memory : {std::size_t{0}, 3 * state}) {
    Trained found = chunked(model, batch, 64, memory);
    EXPECT_EQ(found.loss.sum, expected.loss.sum);
    EXPECT_TRUE(std::equal(found.gradients.flat().begin(), found.gradients.flat().end(),
                           expected.gradients.flat().begin()));
  }
}

TEST(ChunkedTrainingStates, ErrorsAndStops) {
  const Device device = take(Device::open("cpu", {.threads = 2, .cpu_target = ""}));
  const Model model = take(Model::create(test::small_config(), device, 5));
  const OwnedBatch batch = random_batch(model.config(), {100}, 2);
  Execution execution = take(Execution::create(model, {.tokens = 10,
                                                       .sequences = 10,
                                                       .training = true,
                                                       .state_memory = 0,
                                                       .state_directory = "/nonexistent"}));
  Gradients gradients = take(Gradients::create(model));
  const auto failed = execution.loss_and_gradients(long_batch(batch, 10), 1, gradients);
  EXPECT_NE(failed.status().message().find("states between chunks in /nonexistent"),
            std::string::npos);

  Execution good =
      take(Execution::create(model, {.tokens = 10, .sequences = 10, .training = true}));
  std::vector<double> shares;
  const auto all = good.loss_and_gradients(long_batch(batch, 10), 1, gradients, [&](double share) {
    shares.push_back(share);
    return true;
  });
  EXPECT_OK(all.status());
  EXPECT_EQ(shares.size(), 19u);  // 9 forward, 10 with the gradient
  EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
  EXPECT_DOUBLE_EQ(shares.back(), 1);
  const auto stopped = good.loss_and_gradients(long_batch(batch, 10), 1, gradients,
                                               [](double share) { return share < 0.5; });
  EXPECT_EQ(stopped.status().code(), StatusCode::kInterrupted);
  Gradients again = take(Gradients::create(model));
  Gradients once = take(Gradients::create(model));
  take(good.loss_and_gradients(long_batch(batch, 10), 1, again));  // nothing is left over
  take(good.loss_and_gradients(long_batch(batch, 10), 1, once));
  EXPECT_TRUE(std::equal(again.flat().begin(), again.flat().end(), once.flat().begin()));
}

std::vector<std::int64_t> cuts(const std::vector<std::int64_t>& cu_seqlens, std::int64_t tokens) {
  const ChunkCuts cuts(cu_seqlens, tokens);
  std::vector<std::int64_t> ends;
  for (std::int64_t i = 0; i < cuts.count(); ++i) {
    const Chunk chunk = cuts.chunk(i);
    EXPECT_EQ(chunk.begin, ends.empty() ? 0 : ends.back());
    EXPECT_LE(chunk.tokens(), tokens);
    EXPECT_GT(chunk.tokens(), 0);
    EXPECT_EQ(chunk.continues, chunk.position > 0);
    std::vector<std::int64_t> sequences;
    cuts.sequences(chunk, sequences);
    EXPECT_EQ(sequences.front(), 0);
    EXPECT_EQ(sequences.back(), chunk.tokens());
    ends.push_back(chunk.end);
  }
  return ends;
}

TEST(ChunkCuts, OnlyLongSequencesAreCut) {
  using Ends = std::vector<std::int64_t>;
  EXPECT_EQ(cuts({0, 3, 6, 10}, 10), (Ends{10}));
  EXPECT_EQ(cuts({0, 3, 6, 10}, 9), (Ends{6, 10}));
  EXPECT_EQ(cuts({0, 3, 6, 10}, 4), (Ends{3, 6, 10}));
  EXPECT_EQ(cuts({0, 3, 6, 10}, 3), (Ends{3, 6, 9, 10}));  // the last is longer than a chunk
  EXPECT_EQ(cuts({0, 2, 13, 14}, 5), (Ends{5, 10, 14}));   // begins where there is room
  EXPECT_EQ(cuts({0, 5, 17}, 5), (Ends{5, 10, 15, 17}));
  EXPECT_EQ(cuts({0, 0, 4, 4, 6, 6}, 4), (Ends{4, 6}));
  EXPECT_EQ(cuts({0, 0}, 4), (Ends{}));
  const std::vector<std::int64_t> offsets = {0, 2, 13, 14};
  const ChunkCuts chunks(offsets, 5);
  EXPECT_FALSE(chunks.chunk(0).continues);
  EXPECT_TRUE(chunks.chunk(0).continued);
  EXPECT_EQ(chunks.chunk(1).position, 3);
  EXPECT_EQ(chunks.chunk(2).position, 8);
  EXPECT_FALSE(chunks.chunk(2).continued);
  std::vector<std::int64_t> sequences;
  chunks.sequences(chunks.chunk(2), sequences);
  EXPECT_EQ(sequences, (Ends{0, 3, 4}));
}

}  // namespace
}  // namespace tnl
