// TensorBoard's event files, read back by a second reader that shares nothing with the writer: it
// follows the descriptions of TFRecord and of the Event message.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include <gtest/gtest.h>

#include "core/crc32c.h"
#include "tiny_run.h"
#include "train/event_log.h"

namespace tnl::test {
namespace {

namespace fs = std::filesystem;

// Bit by bit, the polynomial 0x1edc6f41 reflected.
std::uint32_t slow_crc32c(const std::string& bytes) {
  std::uint32_t crc = 0xffffffffu;
  for (const char c : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const bool in = ((static_cast<unsigned char>(c) >> bit) & 1) != (crc & 1);
      crc >>= 1;
      if (in) crc ^= 0x82f63b78u;
    }
  }
  return ~crc;
}

struct ReadEvent {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string version;
  int session_status = 0;
  std::map<std::string, float> scalars;
};

class EventReader {
 public:
  explicit EventReader(const std::string& bytes) : bytes_(bytes) {}

  std::vector<ReadEvent> all() {
    std::vector<ReadEvent> events;
    while (at_ < bytes_.size()) {
      const std::string length = take(8);
      EXPECT_EQ(number(take(4)), masked(length));
      const std::string event = take(number(length));
      EXPECT_EQ(number(take(4)), masked(event));
      events.push_back(parse(event));
    }
    return events;
  }

 private:
  static std::uint32_t masked(const std::string& bytes) {
    const std::uint32_t crc = slow_crc32c(bytes);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  }
  std::string take(std::size_t count) {
    EXPECT_LE(at_ + count, bytes_.size());
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  static std::uint64_t number(const std::string& bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), bytes.size());  // little-endian, as this machine
    return value;
  }
  static std::uint64_t varint(const std::string& text, std::size_t& at) {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(text.at(at++));
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 128) return value;
    }
  }
  // visit(field number, content of 4, 8 or more bytes, or the varint's value)
  template <class Visit>
  static void fields(const std::string& message, const Visit& visit) {
    for (std::size_t at = 0; at < message.size();) {
      const std::uint64_t tag = varint(message, at);
      std::size_t bytes = 0;
      std::uint64_t value = 0;
      if ((tag & 7) == 0) value = varint(message, at);
      if ((tag & 7) == 1) bytes = 8;
      if ((tag & 7) == 2) bytes = varint(message, at);
      if ((tag & 7) == 5) bytes = 4;
      visit(static_cast<int>(tag >> 3), message.substr(at, bytes), value);
      at += bytes;
    }
  }
  static ReadEvent parse(const std::string& message) {
    ReadEvent event;
    fields(message, [&](int field, const std::string& content, std::uint64_t value) {
      if (field == 1) std::memcpy(&event.wall_time, content.data(), 8);
      if (field == 2) event.step = static_cast<std::int64_t>(value);
      if (field == 3) event.version = content;
      if (field == 5) parse_summary(content, event);
      if (field == 7) {
        fields(content, [&](int inner, const std::string&, std::uint64_t status) {
          if (inner == 1) event.session_status = static_cast<int>(status);
        });
      }
    });
    return event;
  }
  static void parse_summary(const std::string& summary, ReadEvent& event) {
    fields(summary, [&](int, const std::string& entry, std::uint64_t) {
      std::string tag;
      float value = -1;
      fields(entry, [&](int field, const std::string& content, std::uint64_t) {
        if (field == 1) tag = content;
        if (field == 2) std::memcpy(&value, content.data(), 4);
      });
      EXPECT_TRUE(event.scalars.emplace(tag, value).second) << tag;
    });
  }

  const std::string bytes_;
  std::size_t at_ = 0;
};

std::vector<fs::path> event_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The events with scalars of all files, in the order in which TensorBoard reads them.
std::vector<ReadEvent> scalars(const fs::path& directory) {
  std::vector<ReadEvent> result;
  for (const fs::path& file : event_files(directory)) {
    for (ReadEvent& event : EventReader(file_bytes(file)).all()) {
      if (!event.scalars.empty()) result.push_back(std::move(event));
    }
  }
  return result;
}

MetricsLine line(std::int64_t step) {
  return {.step = step,
          .loss = 0.5 * static_cast<double>(step),
          .learning_rate = 0.25,
          .gradient_norm = std::nan(""),
          .tokens_per_second = 1000,
          .seconds = 1,
          .skipped = false,
          .held_out_loss = step % 2 == 0 ? 3.5 : -1,
          .held_out_bits_per_byte = step % 2 == 0 ? 1.5 : -1};
}

TEST(Crc32c, KnownValue) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);  // RFC 3720's check value
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(EventLog, AnotherReaderFindsEveryScalar) {
  const TemporaryDirectory directory;
  EventLog log = take(EventLog::open(directory.path(), 0));
  for (std::int64_t step = 1; step <= 3; ++step) EXPECT_OK(log.append(line(step)));
  EXPECT_OK(log.sync());
  const auto files = event_files(directory.path());
  ASSERT_EQ(files.size(), 1u);
  const auto events = EventReader(file_bytes(files[0])).all();
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].version, "brain.Event:2");
  EXPECT_GT(events[0].wall_time, 1.7e9);
  EXPECT_EQ(events[1].step, 1);
  EXPECT_EQ(events[1].scalars.size(), 4u);
  EXPECT_EQ(events[1].scalars.at("loss"), 0.5f);
  EXPECT_EQ(events[1].scalars.at("learning_rate"), 0.25f);
  EXPECT_TRUE(std::isnan(events[1].scalars.at("gradient_norm")));
  EXPECT_EQ(events[1].scalars.at("tokens_per_second"), 1000.0f);
  EXPECT_EQ(events[2].scalars.at("held_out/loss"), 3.5f);
  EXPECT_EQ(events[2].scalars.at("held_out/bits_per_byte"), 1.5f);
}

TEST(EventLog, CutsOffStepsBehindTheCheckpointAndTornFrames) {
  const TemporaryDirectory directory;
  {
    EventLog log = take(EventLog::open(directory.path(), 0));
    for (std::int64_t step = 1; step <= 9; ++step) EXPECT_OK(log.append(line(step)));
  }
  {
    EventLog log = take(EventLog::open(directory.path(), 5));
    for (std::int64_t step = 6; step <= 8; ++step) EXPECT_OK(log.append(line(step)));
  }
  ASSERT_EQ(event_files(directory.path()).size(), 2u);
  const fs::path newest = event_files(directory.path())[1];
  const auto events = EventReader(file_bytes(newest)).all();
  EXPECT_EQ(events[1].session_status, 1);  // START: TensorBoard forgets from here on
  EXPECT_EQ(events[1].step, 6);
  fs::resize_file(newest, fs::file_size(newest) - 3);
  { EventLog log = take(EventLog::open(directory.path(), 100)); }
  std::vector<std::int64_t> steps;
  for (const ReadEvent& event : scalars(directory.path())) steps.push_back(event.step);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7}));
  { EventLog log = take(EventLog::open(directory.path(), 0)); }
  EXPECT_EQ(scalars(directory.path()).size(), 0u);
  EXPECT_EQ(event_files(directory.path()).size(), 1u);
}

TEST(EventLog, LeavesTheFilesOfOthersAlone) {
  const TemporaryDirectory directory;
  const auto other = directory.write("events.out.tfevents.1.host", "not ours");
  { EventLog log = take(EventLog::open(directory.path(), 0)); }
  EXPECT_EQ(file_bytes(other), "not ours");
}

TEST(EventLog, AResumedRunHasEveryStepOnceAndAsInTheMetrics) {
  TinyRun tiny;
  const auto until = [](std::int64_t step) {
    return [step](const TrainProgress& progress) { return progress.step < step; };
  };
  take(tiny.start("run", until(2)));
  // A session that was killed after step 4, of which no checkpoint tells.
  fs::copy(tiny.run("run"), tiny.run("killed"), fs::copy_options::recursive);
  {
    EventLog log = take(EventLog::open(tiny.run("killed"), 2));
    for (std::int64_t step = 3; step <= 4; ++step) EXPECT_OK(log.append(line(step)));
  }
  take(tiny.resume("killed"));
  const auto events = scalars(tiny.run("killed"));
  const auto metrics = tiny.metrics("killed");
  ASSERT_EQ(metrics.size(), 6u);
  ASSERT_EQ(events.size(), metrics.size());
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].step, metrics[i].step);
    EXPECT_EQ(events[i].scalars.at("loss"), static_cast<float>(metrics[i].loss));
    EXPECT_EQ(events[i].scalars.at("gradient_norm"), static_cast<float>(metrics[i].gradient_norm));
    EXPECT_EQ(events[i].scalars.count("held_out/loss"), metrics[i].held_out_loss < 0 ? 0u : 1u);
  }
}

}  // namespace
}  // namespace tnl::test
