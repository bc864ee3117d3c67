// The metrics of a run as TensorBoard reads them: events.out.tfevents.* beside metrics.jsonl.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "tnl/status.h"
#include "train/metrics.h"

namespace tnl {

// Each session of a run writes a file of its own: TFRecord frames (length, masked CRC-32C, content,
// masked CRC-32C) around Event messages, one for every step.
class EventLog {
 public:
  // Starts a file in `directory`. What earlier sessions wrote of steps behind `last_step`, and a
  // torn frame at the end, is cut off first; the new file tells a TensorBoard that is running to
  // forget it as well.
  static Result<EventLog> open(const std::filesystem::path& directory, std::int64_t last_step);
  EventLog(EventLog&& other) noexcept;
  EventLog& operator=(EventLog&&) = delete;
  ~EventLog();

  // Scalars: loss, learning_rate, gradient_norm, tokens_per_second, and after an evaluation
  // held_out/loss and held_out/bits_per_byte.
  Status append(const MetricsLine& line);
  Status sync();

 private:
  EventLog(std::filesystem::path path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}
  Status write_frame(std::string_view event);

  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace tnl
