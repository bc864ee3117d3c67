// metrics.jsonl: one line for every step of a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "tnl/status.h"

namespace tnl {

struct MetricsLine {
  std::int64_t step = 0;
  std::int64_t tokens = 0;  // of this step; 0 in files of earlier versions
  double loss = 0;          // nats a target; NaN (null in the file) where it was not finite
  double learning_rate = 0;
  double gradient_norm = 0;      // before clipping; NaN as above
  double tokens_per_second = 0;  // of this step
  double seconds = 0;            // of training, all sessions of the run together
  bool skipped = false;          // not finite: the parameters were left as they were
  double held_out_loss = -1;     // -1: not evaluated
  double held_out_bits_per_byte = -1;
};

class MetricsLog {
 public:
  // Appends to the file. Lines of steps behind `last_step`, and a torn line at the end, are cut off
  // first.
  static Result<MetricsLog> open(const std::filesystem::path& path, std::int64_t last_step);
  MetricsLog(MetricsLog&& other) noexcept;
  MetricsLog& operator=(MetricsLog&&) = delete;
  ~MetricsLog();

  // The step of the last line; 0: there is none.
  std::int64_t last_step() const { return last_step_; }
  Status append(const MetricsLine& line);
  Status sync();

 private:
  MetricsLog(std::filesystem::path path, int descriptor, std::int64_t last_step)
      : path_(std::move(path)), descriptor_(descriptor), last_step_(last_step) {}
  std::filesystem::path path_;
  int descriptor_;
  std::int64_t last_step_;
};

// Every whole line; a torn last one (of a run that is being written) is left out.
Result<std::vector<MetricsLine>> read_metrics(const std::filesystem::path& path);

}  // namespace tnl
