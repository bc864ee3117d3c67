#include "train/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/crc32c.h"
#include "core/file.h"
#include "core/try.h"
#include "core/wire_format.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

// Field numbers: event.proto and summary.proto of TensorFlow.
constexpr std::uint32_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
constexpr std::uint32_t kSummaryValue = 1, kTag = 1, kSimpleValue = 2;
constexpr std::uint32_t kSessionStatus = 1, kSessionStart = 1;
constexpr std::string_view kPrefix = "events.out.tfevents.";
constexpr std::string_view kOurs = ".tnl.";
constexpr std::size_t kFrameHead = 12, kFrameTail = 4;

std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

std::uint64_t number_at(std::string_view bytes, std::size_t at, int count) {
  std::uint64_t value = 0;
  for (int i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

WireWriter begin_event(std::int64_t step) {
  WireWriter event;
  event.float64(kWallTime, now());
  event.varint(kStep, static_cast<std::uint64_t>(step));
  return event;
}

Status refused(const char* verb, const fs::path& path) {
  return io_error(fmt::format("cannot {} {}: {}", verb, path.string(), strerror(errno)));
}

// The step of the event in the frame that begins `bytes`, and its length; 0 where it is torn.
std::size_t read_frame(std::string_view bytes, std::int64_t& step) {
  if (bytes.size() < kFrameHead + kFrameTail) return 0;
  const std::uint64_t size = number_at(bytes, 0, 8);
  if (number_at(bytes, 8, 4) != masked_crc(bytes.substr(0, 8))) return 0;
  if (size > bytes.size() - kFrameHead - kFrameTail) return 0;
  const std::string_view event = bytes.substr(kFrameHead, size);
  if (number_at(bytes, kFrameHead + size, 4) != masked_crc(event)) return 0;
  step = 0;
  for (WireReader reader(event); !reader.done();) {
    const auto field = reader.next();
    if (!field) return 0;
    if (field->number == kStep) step = static_cast<std::int64_t>(field->value);
  }
  return kFrameHead + size + kFrameTail;
}

// Cuts a file of an earlier session off behind `last_step`; one without a step left is removed.
Status cut_off(const fs::path& path, std::int64_t last_step) {
  std::size_t kept = 0;
  bool any = false;
  {
    TNL_ASSIGN(const MappedFile file, MappedFile::open(path));
    std::int64_t step = 0;
    while (const std::size_t bytes = read_frame(file.text().substr(kept), step)) {
      if (step > last_step) break;
      any = any || step > 0;
      kept += bytes;
    }
  }
  if (any && ::truncate(path.c_str(), static_cast<off_t>(kept)) != 0) return refused("write", path);
  if (!any && ::unlink(path.c_str()) != 0) return refused("remove", path);
  return {};
}

Status cut_off_all(const fs::path& directory, std::int64_t last_step) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(kPrefix) && name.find(kOurs) != std::string::npos) {
      paths.push_back(entry->path());
    }
  }
  for (const fs::path& path : paths) TNL_TRY(cut_off(path, last_step));
  return {};
}

}  // namespace

// TensorBoard reads the files of a directory in the order of their names: by the time they began.
Result<EventLog> EventLog::open(const fs::path& directory, std::int64_t last_step) {
  TNL_TRY(cut_off_all(directory, last_step));
  fs::path path;
  int descriptor = -1;
  for (auto seconds = static_cast<std::int64_t>(now()); descriptor < 0; ++seconds) {
    path = directory / fmt::format("{}{:010}{}{}", kPrefix, seconds, kOurs, last_step);
    descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor < 0 && errno != EEXIST) return refused("write", path);
  }
  EventLog log(path, descriptor);
  WireWriter version;
  version.float64(kWallTime, now());
  version.content(kFileVersion, "brain.Event:2");
  TNL_TRY(log.write_frame(version.message()));
  if (last_step == 0) return log;
  WireWriter session;
  session.varint(kSessionStatus, kSessionStart);
  WireWriter event = begin_event(last_step + 1);
  event.content(kSessionLog, session.message());
  TNL_TRY(log.write_frame(event.message()));
  return log;
}

EventLog::EventLog(EventLog&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

EventLog::~EventLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status EventLog::write_frame(std::string_view event) {
  const std::string size = little_endian(event.size(), 8);
  std::string frame = size + little_endian(masked_crc(size), 4);
  frame += event;
  frame += little_endian(masked_crc(event), 4);
  for (std::string_view rest = frame; !rest.empty();) {
    const ssize_t count = ::write(descriptor_, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refused("write", path_);
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Status EventLog::append(const MetricsLine& line) {
  WireWriter summary;
  const auto scalar = [&](std::string_view tag, double value) {
    WireWriter entry;
    entry.content(kTag, tag);
    entry.float32(kSimpleValue, static_cast<float>(value));
    summary.content(kSummaryValue, entry.message());
  };
  scalar("loss", line.loss);
  scalar("learning_rate", line.learning_rate);
  scalar("gradient_norm", line.gradient_norm);
  scalar("tokens_per_second", line.tokens_per_second);
  if (!(line.held_out_loss < 0)) scalar("held_out/loss", line.held_out_loss);
  if (!(line.held_out_bits_per_byte < 0)) {
    scalar("held_out/bits_per_byte", line.held_out_bits_per_byte);
  }
  WireWriter event = begin_event(line.step);
  event.content(kSummary, summary.message());
  return write_frame(event.message());
}

Status EventLog::sync() {
  return ::fsync(descriptor_) == 0 ? Status() : refused("write", path_);
}

}  // namespace tnl
