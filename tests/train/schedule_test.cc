#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "train/schedule.h"

namespace tnl {
namespace {

TrainConfig config(const char* schedule) {
  TrainConfig c;
  c.steps = 100;
  c.warmup_steps = 10;
  c.learning_rate = 1.0;
  c.min_learning_rate = 0.1;
  c.schedule = schedule;
  c.wsd_decay = 0.2;
  return c;
}

TEST(Schedule, WarmsUpLinearlyToTheFullRate) {
  for (const char* schedule : {"cosine", "wsd"}) {
    const TrainConfig c = config(schedule);
    EXPECT_DOUBLE_EQ(learning_rate_at(c, 1), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate_at(c, 5), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate_at(c, 10), 1.0);
  }
}

TEST(Schedule, CosineFallsToTheMinimumAtTheLastStep) {
  const TrainConfig c = config("cosine");
  EXPECT_NEAR(learning_rate_at(c, 55), 0.55, 1e-15);  // half way
  EXPECT_NEAR(learning_rate_at(c, 40), 0.1 + 0.45 * (1 + std::cos(std::numbers::pi / 3)), 1e-15);
  EXPECT_NEAR(learning_rate_at(c, 100), 0.1, 1e-15);
  for (int step = 11; step <= 100; ++step) {
    EXPECT_LT(learning_rate_at(c, step), learning_rate_at(c, step - 1)) << step;
  }
}

TEST(Schedule, WsdIsConstantAndThenLinear) {
  const TrainConfig c = config("wsd");
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 11), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 80), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 81), 1.0 - 0.9 / 20);
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 90), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 100), 0.1);
}

TEST(Schedule, WsdMayCoolDownAllTheWayFromTheWarmUp) {
  TrainConfig c = config("wsd");
  c.wsd_decay = 1.0;
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 10), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 55), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 100), 0.1);
  c.wsd_decay = 0.0;
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 100), 1.0);
}

TEST(Schedule, EndsAtATenthWhereNoMinimumIsGiven) {
  TrainConfig c = config("cosine");
  c.learning_rate = 3.0;
  c.min_learning_rate = -1;
  EXPECT_NEAR(learning_rate_at(c, 100), 0.3, 1e-15);
}

TEST(Schedule, HandlesTheEdges) {
  TrainConfig c = config("cosine");
  c.warmup_steps = 0;
  c.steps = 1;
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 1), 0.1);
  c.steps = c.warmup_steps = 4;  // warm-up only
  EXPECT_DOUBLE_EQ(learning_rate_at(c, 4), 1.0);
}

}  // namespace
}  // namespace tnl
