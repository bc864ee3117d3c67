#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>

#include "core/file.h"
#include "support/require.h"
#include "support/temporary_directory.h"
#include "train/metrics.h"

namespace tnl {
namespace {

using test::take;
using test::TemporaryDirectory;

MetricsLine line(std::int64_t step) {
  MetricsLine line;
  line.step = step;
  line.loss = 8.0 / static_cast<double>(step);
  return line;
}

void write_steps(const std::filesystem::path& path, std::int64_t steps) {
  MetricsLog log = take(MetricsLog::open(path, 0));
  for (std::int64_t step = 1; step <= steps; ++step) EXPECT_OK(log.append(line(step)));
  EXPECT_OK(log.sync());
}

std::vector<std::int64_t> steps_of(const std::filesystem::path& path) {
  std::vector<std::int64_t> steps;
  for (const MetricsLine& line : take(read_metrics(path))) steps.push_back(line.step);
  return steps;
}

TEST(Metrics, KeepsEveryFieldThroughTheFile) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "metrics.jsonl";
  MetricsLine written{.step = 3,
                      .tokens = 4096,
                      .loss = 1.0 / 3,
                      .learning_rate = 1e-3,
                      .gradient_norm = std::nan(""),
                      .tokens_per_second = 1234,
                      .seconds = 5.5,
                      .skipped = true,
                      .held_out_loss = 2.5,
                      .held_out_bits_per_byte = 1.25};
  {
    MetricsLog log = take(MetricsLog::open(path, 0));
    EXPECT_OK(log.append(written));
    EXPECT_OK(log.append(line(4)));
  }
  const auto lines = take(read_metrics(path));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].step, 3);
  EXPECT_EQ(lines[0].tokens, 4096);
  EXPECT_EQ(lines[0].loss, 1.0 / 3);
  EXPECT_EQ(lines[0].learning_rate, 1e-3);
  EXPECT_TRUE(std::isnan(lines[0].gradient_norm));
  EXPECT_EQ(lines[0].tokens_per_second, 1234);
  EXPECT_EQ(lines[0].seconds, 5.5);
  EXPECT_TRUE(lines[0].skipped);
  EXPECT_EQ(lines[0].held_out_loss, 2.5);
  EXPECT_EQ(lines[0].held_out_bits_per_byte, 1.25);
  EXPECT_FALSE(lines[1].skipped);
  EXPECT_EQ(lines[1].held_out_loss, -1);
  EXPECT_EQ(lines[1].held_out_bits_per_byte, -1);
}

TEST(Metrics, CutsOffStepsBehindTheCheckpoint) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "metrics.jsonl";
  write_steps(path, 9);
  {
    MetricsLog log = take(MetricsLog::open(path, 5));
    EXPECT_EQ(log.last_step(), 5);
    EXPECT_OK(log.append(line(6)));
  }
  EXPECT_EQ(steps_of(path), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
}

TEST(Metrics, CutsOffATornLine) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "metrics.jsonl";
  write_steps(path, 3);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 7);
  EXPECT_EQ(steps_of(path), (std::vector<std::int64_t>{1, 2}));  // as a plot sees a running run
  {
    MetricsLog log = take(MetricsLog::open(path, 100));
    EXPECT_EQ(log.last_step(), 2);
    EXPECT_OK(log.append(line(3)));
  }
  EXPECT_EQ(steps_of(path), (std::vector<std::int64_t>{1, 2, 3}));
}

TEST(Metrics, TellsAGapByItsLastStep) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "metrics.jsonl";
  MetricsLog log = take(MetricsLog::open(path, 5));
  EXPECT_EQ(log.last_step(), 0);
}

TEST(Metrics, NamesALineThatIsNone) {
  const TemporaryDirectory directory;
  const auto path = directory.write("metrics.jsonl", "{\"step\": 1}\nnot json\n");
  const auto result = read_metrics(path);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("line 2: found 'not json'"), std::string::npos)
      << result.status().message();
}

}  // namespace
}  // namespace tnl
