#include "tnl/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

namespace tnl::command {
namespace {

constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(10);

std::size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

std::string format_amount(double amount, std::string_view unit) {
  static constexpr std::string_view kPrefixes[] = {"", "k", "M", "G", "T", "P"};
  std::size_t prefix = 0;
  while (std::abs(amount) >= 999.5 && prefix + 1 < std::size(kPrefixes)) {
    amount /= 1000;
    ++prefix;
  }
  const int digits = prefix > 0 && std::abs(amount) < 99.95 ? 1 : 0;
  const std::string suffix = fmt::format("{}{}", kPrefixes[prefix], unit);
  return fmt::format("{:.{}f}{}{}", amount, digits, suffix.empty() ? "" : " ", suffix);
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const auto total = static_cast<std::int64_t>(std::llround(seconds));
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return fmt::format("{}m{:02}s", total / 60, total % 60);
  if (total < 86400) return fmt::format("{}h{:02}m", total / 3600, total / 60 % 60);
  return fmt::format("{}d{:02}h", total / 86400, total / 3600 % 24);
}

Progress::Progress(std::string label, std::string unit, std::int64_t first)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      first_(first),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() {
  finish();
}

std::string Progress::amount(std::int64_t done, std::int64_t total) const {
  std::string text = label_ + ' ';
  if (unit_ == "B") {
    text += format_amount(static_cast<double>(done), "B");
    if (total > 0) text += " of " + format_amount(static_cast<double>(total), "B");
  } else {
    text += fmt::format("{}", done);
    if (total > 0) text += fmt::format(" of {}", total);
    text += ' ' + unit_;
  }
  if (total > 0)
    text += fmt::format(" ({}%)", std::clamp<std::int64_t>(done * 100 / total, 0, 100));
  return text;
}

void Progress::update(std::int64_t done, std::int64_t total, std::string_view note) {
  if (!due() && done != total) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = static_cast<double>(done - first_) / std::max(seconds, 1e-9);
  std::string line = amount(done, total);
  double left = -1;
  if (rate > 0 && seconds > 0.5) {
    line += fmt::format(", {}{}/s", format_amount(rate, unit_ == "B" ? "B" : ""),
                        unit_ == "B" ? "" : ' ' + unit_);
    if (total > done) left = static_cast<double>(total - done) / rate;
  }
  if (left >= 0) line += fmt::format(", {} left", format_duration(left));
  if (!note.empty()) line += fmt::format(", {}", note);
  show(std::move(line));
}

void Progress::update(std::int64_t done, std::int64_t total, double seconds_left,
                      std::string_view note) {
  std::string line = amount(done, total);
  if (!note.empty()) line += fmt::format(", {}", note);
  if (seconds_left >= 0) line += fmt::format(", {} left", format_duration(seconds_left));
  show(std::move(line));
}

bool Progress::due() const {
  if (never_shown_) return true;
  const auto passed = Clock::now() - last_;
  return terminal_ ? passed >= kTerminalInterval : passed >= kPlainInterval;
}

void Progress::show(std::string line) {
  line_ = std::move(line);
  shown_ = false;
  if (due()) draw();
}

void Progress::draw() {
  if (terminal_) {
    // A line that wraps could not be rewritten.
    fmt::print(stderr, "\r{}\x1b[K", std::string_view(line_).substr(0, terminal_width() - 1));
  } else {
    fmt::print(stderr, "{}\n", line_);
  }
  std::fflush(stderr);
  open_ = terminal_;
  last_ = Clock::now();
  shown_ = true;
  never_shown_ = false;
}

void Progress::print(std::string_view line) {
  fmt::print(stderr, "{}{}\n", open_ ? "\r\x1b[K" : "", line);
  if (open_) draw();
  std::fflush(stderr);
}

void Progress::finish() {
  if (!shown_) draw();
  if (open_) fmt::print(stderr, "\n");
  std::fflush(stderr);
  open_ = false;
}

}  // namespace tnl::command
