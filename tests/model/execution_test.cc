// The model's own promises: the CPU equals the fp64 reference, gradients are those of the loss, and
// a text gives the same numbers however it is cut or packed.
#include "model/execution.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/convert.h"
#include "model/model_cases.h"
#include "support/require.h"

namespace tnl {
namespace {

using test::NamedConfig;
using test::OwnedBatch;
using test::random_batch;
using test::take;

Device reference() {
  return take(Device::open("reference"));
}
Device cpu() {
  return take(Device::open("cpu", {.threads = 2}));
}

Execution training(const Model& model) {
  return take(Execution::create(model, {.tokens = 64, .sequences = 8, .training = true}));
}

// The parameters of `from`, as `to` stores them.
void copy_parameters(const Model& from, const Model& to) {
  for (std::size_t i = 0; i < from.parameters().size(); ++i) {
    const TensorView& source = from.parameters()[i].view;
    const TensorView& target = to.parameters()[i].view;
    convert(source.data, source.dtype, target.data, target.dtype, source.elements());
  }
}

std::vector<double> values(const TensorView& view) {
  std::vector<double> result(static_cast<std::size_t>(view.elements()));
  convert(view.data, view.dtype, result.data(), DType::kF64, view.elements());
  return result;
}

double relative_rms(const std::vector<double>& found, const std::vector<double>& expected) {
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(error / std::max(norm, 1e-300));
}

class ModelExecution : public testing::TestWithParam<NamedConfig> {};

TEST_P(ModelExecution, GradientsEqualFiniteDifferences) {
  const Model model = take(Model::create(GetParam().config, reference(), 7));
  OwnedBatch batch = random_batch(GetParam().config, {5, 1, 0, 7}, 3);
  batch.mask.assign(batch.tokens.size(), 1);
  batch.mask[0] = batch.mask[7] = 0;
  // The row of the padding id gets no gradient by design; finite differences would see one.
  for (std::int32_t& token : batch.tokens) token = std::max(token, 1);
  Execution execution = training(model);
  Gradients gradients = take(Gradients::create(model));
  const double scale = 0.25;
  take(execution.loss_and_gradients(batch.view(), scale, gradients));
  Gradients ignored = take(Gradients::create(model));
  Rng rng(11);
  for (std::size_t i = 0; i < gradients.count(); ++i) {
    const TensorView& view = model.parameters()[i].view;
    auto* parameter = static_cast<double*>(view.data);
    const std::vector<double> gradient = values(gradients.tensor(i));
    for (int sample = 0; sample < 6; ++sample) {
      const std::uint64_t j = rng.below(gradient.size());
      const double kept = parameter[j];
      const double h = 1e-5;
      parameter[j] = kept + h;
      const double above = take(execution.loss_and_gradients(batch.view(), scale, ignored)).sum;
      parameter[j] = kept - h;
      const double below = take(execution.loss_and_gradients(batch.view(), scale, ignored)).sum;
      parameter[j] = kept;
      const double expected = scale * (above - below) / (2 * h);
      EXPECT_NEAR(gradient[j], expected, 1e-7 + 1e-6 * std::abs(expected))
          << model.parameters()[i].name << "[" << j << "]";
    }
  }
}

TEST_P(ModelExecution, CpuEqualsReference) {
  const Model exact = take(Model::create(GetParam().config, reference(), 5));
  const OwnedBatch batch = random_batch(GetParam().config, {19, 4, 1, 0, 33}, 9);
  Gradients expected = take(Gradients::create(exact));
  const LossSum loss = take(training(exact).loss_and_gradients(batch.view(), 0.1, expected));
  for (const std::string& target : available_cpu_targets()) {
    const Device device = take(Device::open("cpu", {.threads = 2, .cpu_target = target}));
    const Model model = take(Model::create(GetParam().config, device, 5));
    copy_parameters(exact, model);
    Gradients gradients = take(Gradients::create(model));
    const LossSum found = take(training(model).loss_and_gradients(batch.view(), 0.1, gradients));
    EXPECT_EQ(found.targets, loss.targets);
    EXPECT_NEAR(found.sum, loss.sum, 1e-5 * loss.sum) << target;
    for (std::size_t i = 0; i < gradients.count(); ++i) {
      EXPECT_LE(relative_rms(values(gradients.tensor(i)), values(expected.tensor(i))), 2e-5)
          << target << " " << model.parameters()[i].name;
    }
  }
}

TEST_P(ModelExecution, GradientsAddUp) {
  const Model model = take(Model::create(GetParam().config, cpu(), 5));
  const OwnedBatch batch = random_batch(GetParam().config, {9, 6}, 2);
  Execution execution = training(model);
  Gradients once = take(Gradients::create(model));
  Gradients twice = take(Gradients::create(model));
  take(execution.loss_and_gradients(batch.view(), 1.0, once));
  take(execution.loss_and_gradients(batch.view(), 1.0, twice));
  take(execution.loss_and_gradients(batch.view(), 1.0, twice));
  for (std::size_t i = 0; i < once.flat().size(); ++i) {
    ASSERT_NEAR(twice.flat()[i], 2 * once.flat()[i], 1e-5f + 1e-4f * std::abs(once.flat()[i]));
  }
}

// Less memory, the same bits.
TEST_P(ModelExecution, RecomputingChangesNothing) {
  const Model model = take(Model::create(GetParam().config, cpu(), 5));
  OwnedBatch batch = random_batch(GetParam().config, {19, 6, 40}, 2);
  batch.mask.assign(batch.tokens.size(), 1);
  batch.mask[3] = 0;
  const auto run = [&](Recompute recompute, std::size_t& bytes) {
    Execution execution = take(Execution::create(
        model, {.tokens = 65, .sequences = 3, .training = true, .recompute = recompute}));
    Gradients gradients = take(Gradients::create(model));
    take(execution.loss_and_gradients(batch.view(), 0.1, gradients));
    bytes = execution.activation_bytes();
    const auto flat = gradients.flat();
    return std::vector<float>(flat.begin(), flat.end());
  };
  std::size_t all = 0, selective = 0, full = 0;
  const auto expected = run(Recompute::kNone, all);
  EXPECT_EQ(run(Recompute::kSelective, selective), expected);
  EXPECT_EQ(run(Recompute::kFull, full), expected);
  if (GetParam().config.layers > 1) {
    EXPECT_LT(selective, all);
    EXPECT_LT(full, selective);
  }
}

std::vector<float> all_logits(const Model& model, const std::vector<std::int32_t>& tokens,
                              const std::vector<std::int64_t>& cuts) {
  const std::int64_t vocab_size = model.config().vocab_size;
  Execution execution = take(Execution::create(
      model, {.tokens = static_cast<std::int64_t>(tokens.size()), .sequences = 1}));
  ModelState state = take(ModelState::create(model, 1));
  std::vector<float> logits(tokens.size() * static_cast<std::size_t>(vocab_size));
  for (std::size_t piece = 0; piece + 1 < cuts.size(); ++piece) {
    const std::int64_t length = cuts[piece + 1] - cuts[piece];
    const std::vector<std::int64_t> cu_seqlens = {0, length};
    const TokenBatch batch{
        .tokens = std::span(tokens).subspan(static_cast<std::size_t>(cuts[piece]),
                                            static_cast<std::size_t>(length)),
        .cu_seqlens = cu_seqlens,
        .targets = {},
        .mask = {}};
    EXPECT_OK(execution.forward(
        batch, &state,
        std::span(logits).subspan(static_cast<std::size_t>(cuts[piece] * vocab_size),
                                  static_cast<std::size_t>(length * vocab_size)),
        /*all_logits=*/true));
  }
  EXPECT_EQ(state.positions()[0], static_cast<std::int64_t>(tokens.size()));
  return logits;
}

TEST_P(ModelExecution, CuttingATextChangesNothing) {
  const Model model = take(Model::create(GetParam().config, cpu(), 13));
  const OwnedBatch text = random_batch(GetParam().config, {41}, 4);
  const std::vector<float> whole = all_logits(model, text.tokens, {0, 41});
  const std::vector<std::vector<std::int64_t>> all_cuts = {{0, 1, 41}, {0, 17, 18, 19, 40, 41}};
  for (const auto& cuts : all_cuts) {
    const std::vector<float> pieces = all_logits(model, text.tokens, cuts);
    for (std::size_t i = 0; i < whole.size(); ++i) ASSERT_NEAR(pieces[i], whole[i], 2e-4f) << i;
  }
}

TEST_P(ModelExecution, PackedSequencesAreSeparate) {
  const Model model = take(Model::create(GetParam().config, cpu(), 13));
  const OwnedBatch packed = random_batch(GetParam().config, {7, 0, 12, 1}, 4);
  Execution execution = training(model);
  std::vector<double> together(packed.tokens.size());
  EXPECT_OK(execution.losses(packed.view(), nullptr, together));
  for (std::size_t n = 0; n + 1 < packed.cu_seqlens.size(); ++n) {
    const auto first = static_cast<std::size_t>(packed.cu_seqlens[n]);
    const auto count = static_cast<std::size_t>(packed.cu_seqlens[n + 1]) - first;
    const std::vector<std::int64_t> cu_seqlens = {0, static_cast<std::int64_t>(count)};
    const TokenBatch alone{.tokens = std::span(packed.tokens).subspan(first, count),
                           .cu_seqlens = cu_seqlens,
                           .targets = std::span(packed.targets).subspan(first, count),
                           .mask = {}};
    std::vector<double> losses(count);
    EXPECT_OK(execution.losses(alone, nullptr, losses));
    for (std::size_t t = 0; t < count; ++t) EXPECT_NEAR(losses[t], together[first + t], 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ModelExecution, testing::ValuesIn(test::config_cases()),
                         [](const auto& info) { return info.param.name; });

TEST(ModelExecutionErrors, NameWhatIsWrong) {
  const ModelConfig config = test::small_config();
  const Model model = take(Model::create(config, cpu(), 1));
  Execution execution = take(Execution::create(model, {.tokens = 4, .sequences = 1}));
  OwnedBatch batch = random_batch(config, {3}, 1);
  std::vector<float> logits(static_cast<std::size_t>(config.vocab_size));
  batch.tokens[1] = 37;
  Status status = execution.forward(batch.view(), nullptr, logits);
  EXPECT_EQ(status.message(), "batch: token 1: found id 37, expected 0 to 36");
  batch.tokens[1] = -1;
  EXPECT_FALSE(execution.forward(batch.view(), nullptr, logits).ok());
  batch = random_batch(config, {5}, 1);
  EXPECT_FALSE(execution.forward(batch.view(), nullptr, logits).ok());
  Gradients gradients = take(Gradients::create(model));
  batch = random_batch(config, {3}, 1);
  EXPECT_FALSE(execution.loss_and_gradients(batch.view(), 1, gradients).ok());
}

}  // namespace
}  // namespace tnl
