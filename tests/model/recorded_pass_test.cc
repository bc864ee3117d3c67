// Training passes that are replayed on a GPU give the bits of passes that are not.
#include <gtest/gtest.h>

#include <vector>

#include "backend/backend.h"
#include "backend/host_copy.h"
#include "model/execution.h"
#include "model/model_cases.h"
#include "support/require.h"

namespace tnl {
namespace {

using test::OwnedBatch;
using test::random_batch;
using test::take;

struct Outcome {
  double loss = 0;
  std::vector<float> gradients;

  bool operator==(const Outcome&) const = default;
};

Outcome run(Execution& execution, const Model& model, Gradients& gradients, const OwnedBatch& batch,
            double scale) {
  gradients.zero();
  Outcome outcome;
  outcome.loss = take(execution.loss_and_gradients(batch.view(), scale, gradients)).sum;
  const std::span<float> flat = gradients.flat();
  const HostCopy host =
      take(HostCopy::download(model.device().backend(), flat.data(), flat.size_bytes()));
  outcome.gradients.assign(host.as<float>(), host.as<float>() + flat.size());
  return outcome;
}

TEST(GpuRecordedPass, RepeatsTheBits) {
  const auto device = Device::open("cuda", {.threads = 2, .cpu_target = {}});
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  const ModelConfig config = test::small_config();
  const Model model = take(Model::create(config, *device, 5, DType::kBF16));
  const auto execution = [&] {
    return take(Execution::create(model, {.tokens = 4096, .sequences = 64, .training = true}));
  };
  Gradients gradients = take(Gradients::create(model));
  // The same outline with other tokens; another outline and another scale between.
  const OwnedBatch even[] = {random_batch(config, {500, 500, 500}, 1),
                             random_batch(config, {500, 500, 500}, 2)};
  const OwnedBatch odd = random_batch(config, {4000, 7, 89}, 3);
  struct Call {
    const OwnedBatch* batch;
    double scale;
  };
  const std::vector<Call> calls = {
      {&even[0], 0.1}, {&even[1], 0.1}, {&even[0], 0.1}, {&even[1], 0.1}, {&odd, 0.1},
      {&even[0], 0.1}, {&odd, 0.1},     {&odd, 0.1},     {&odd, 0.1},     {&even[1], 0.1},
      {&even[1], 0.2}, {&even[0], 0.2}, {&even[1], 0.2}};
  Execution repeated = execution();
  for (std::size_t i = 0; i < calls.size(); ++i) {
    Execution fresh = execution();
    const auto [batch, scale] = calls[i];
    const Outcome expected = run(fresh, model, gradients, *batch, scale);
    EXPECT_EQ(run(repeated, model, gradients, *batch, scale), expected) << i;
  }
}

}  // namespace
}  // namespace tnl
