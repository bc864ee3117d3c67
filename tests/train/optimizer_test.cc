#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "backend/backend.h"
#include "core/rng.h"
#include "model/execution.h"
#include "support/require.h"
#include "tnl/device.h"
#include "tnl/model.h"
#include "train/optimizer.h"

namespace tnl {
namespace {

using test::take;

// AdamW (Loshchilov and Hutter, algorithm 2) in double precision.
struct Reference {
  std::vector<double> p, m, v;
  bool decay = true;

  void step(const std::vector<float>& g, const Optimizer::Options& o, double lr, double scale,
            int t) {
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double gradient = scale * g[i];
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * gradient;
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * gradient * gradient;
      const double m_hat = m[i] / (1 - std::pow(o.beta1, t));
      const double v_hat = v[i] / (1 - std::pow(o.beta2, t));
      const double update = m_hat / (std::sqrt(v_hat) + o.epsilon);
      p[i] -= lr * (update + (decay ? o.weight_decay : 0) * p[i]);
    }
  }
};

struct Fixture {
  // Three tensors; the first two lie one behind the other, the last decays not.
  std::vector<float> values = std::vector<float>(37 + 1000);
  std::vector<float> gradients = std::vector<float>(37 + 1000);
  std::vector<float> other = std::vector<float>(5), other_gradients = std::vector<float>(5);
  Device device = take(Device::open("cpu", {.threads = 2, .cpu_target = ""}));

  Optimizer make(const Optimizer::Options& options) {
    return take(
        Optimizer::create(device,
                          {{"a", {values.data(), 37}, {gradients.data(), 37}, true},
                           {"b", {values.data() + 37, 1000}, {gradients.data() + 37, 1000}, true},
                           {"c", other, other_gradients, false}},
                          options));
  }
};

TEST(Optimizer, FollowsTheDoublePrecisionVersion) {
  Fixture f;
  Rng rng(3);
  for (float& value : f.values) value = static_cast<float>(rng.normal());
  for (float& value : f.other) value = static_cast<float>(rng.normal());
  const Optimizer::Options options{
      .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.3, .clip = 20.0};
  Optimizer optimizer = f.make(options);
  Reference one{{f.values.begin(), f.values.end()},
                std::vector<double>(f.values.size()),
                std::vector<double>(f.values.size()),
                true};
  Reference two{
      {f.other.begin(), f.other.end()}, std::vector<double>(5), std::vector<double>(5), false};
  for (int t = 1; t <= 12; ++t) {
    const double size = t % 3 == 0 ? 2.0 : 0.1;  // every third step is clipped
    double squares = 0;
    for (auto* gradients : {&f.gradients, &f.other_gradients}) {
      for (float& g : *gradients) {
        g = static_cast<float>(size * rng.normal());
        squares += static_cast<double>(g) * g;
      }
    }
    const double norm = std::sqrt(squares);
    const double lr = 0.01 * t;
    const Optimizer::Outcome outcome = optimizer.step(lr);
    EXPECT_TRUE(outcome.applied);
    EXPECT_NEAR(outcome.gradient_norm, norm, 1e-9 * norm);
    const double scale = norm > 20.0 ? 20.0 / norm : 1;
    EXPECT_EQ(scale < 1, t % 3 == 0);
    one.step(f.gradients, options, lr, scale, t);
    two.step(f.other_gradients, options, lr, scale, t);
  }
  EXPECT_EQ(optimizer.updates(), 12);
  for (std::size_t i = 0; i < f.values.size(); ++i) {
    EXPECT_NEAR(f.values[i], one.p[i], 4e-6 * (1 + std::abs(one.p[i]))) << i;
  }
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(f.other[i], two.p[i], 4e-6 * (1 + std::abs(two.p[i]))) << i;
  }
}

TEST(Optimizer, FirstStepByHand) {
  Fixture f;
  f.values[0] = 1;
  f.gradients[0] = 3;
  f.gradients[40] = 4;  // norm 5, clipped to 1: 0.6 and 0.8; the first update is the sign
  f.other[0] = 1;
  Optimizer optimizer =
      f.make({.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.5, .clip = 1.0});
  const Optimizer::Outcome outcome = optimizer.step(0.1);
  EXPECT_EQ(outcome.gradient_norm, 5.0);
  EXPECT_NEAR(f.values[0], 1 - 0.1 * (1 + 0.5), 1e-6);
  EXPECT_NEAR(f.values[40], -0.1, 1e-6);
  EXPECT_EQ(f.other[0], 1.0f);  // no gradient, no decay
  const auto moments = optimizer.moments();
  ASSERT_EQ(moments.size(), 6u);
  EXPECT_EQ(moments[0].name, "first_moment.a");
  EXPECT_EQ(moments[4].name, "second_moment.b");
  EXPECT_NEAR(moments[0].values[0], 0.06, 5e-8);
  EXPECT_NEAR(moments[4].values[3], 0.05 * 0.64, 5e-8);
}

TEST(Optimizer, DoesNotClipWhereItIsOff) {
  Fixture f;
  f.gradients[0] = 300;
  Optimizer optimizer = f.make({.clip = 0});
  optimizer.step(0.1);
  EXPECT_NEAR(optimizer.moments()[0].values[0], 30, 1e-4);
}

TEST(Optimizer, TouchesNothingForAGradientThatIsNotFinite) {
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    Fixture f;
    f.values.assign(f.values.size(), 2);
    f.gradients.assign(f.gradients.size(), 1);
    Optimizer optimizer = f.make({});
    ASSERT_TRUE(optimizer.step(0.1).applied);
    const std::vector<float> values = f.values;
    const auto moments = optimizer.moments();
    const std::vector<float> first(moments[1].values.begin(), moments[1].values.end());
    f.other_gradients[4] = bad;
    const Optimizer::Outcome outcome = optimizer.step(0.1);
    EXPECT_FALSE(outcome.applied);
    EXPECT_FALSE(std::isfinite(outcome.gradient_norm));
    EXPECT_EQ(f.values, values);
    EXPECT_TRUE(std::equal(first.begin(), first.end(), moments[1].values.begin()));
    EXPECT_EQ(optimizer.updates(), 1);
  }
}

TEST(OptimizerTensors, DecayIsForMatricesThatMultiply) {
  ModelConfig config;
  config.vocab_size = 11;
  config.width = config.hidden = 8;
  config.layers = 1;
  config.heads = 2;
  config.glu = 8;
  config.lrpe = {1};
  config.tie_embeddings = false;
  const Device device = take(Device::open("cpu"));
  Model model = take(Model::create(config, device, 1));
  const Gradients gradients = take(Gradients::create(model));
  std::vector<std::string> without;
  std::int64_t elements = 0;
  for (const OptimizerTensor& tensor : optimizer_tensors(model, model, gradients)) {
    EXPECT_EQ(tensor.values.size(), tensor.gradients.size());
    elements += static_cast<std::int64_t>(tensor.values.size());
    if (!tensor.decay) without.push_back(tensor.name);
  }
  EXPECT_EQ(elements, config.parameter_count());
  EXPECT_EQ(without, (std::vector<std::string>{"model.embed_tokens.weight",
                                               "model.layers.0.token_mixer.lrpe.theta"}));
}

}  // namespace
}  // namespace tnl
