#include "tnl/cli.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string_view>

#include <fmt/format.h>

namespace tnl::command {
namespace {

volatile std::sig_atomic_t g_interrupts = 0;

void on_interrupt(int signal) {
  g_interrupts = g_interrupts + 1;
  if (g_interrupts > 1) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

void write_error(std::string_view text) {
  (void)!::write(STDERR_FILENO, text.data(), text.size());
}

// The path in a line of /proc/self/maps, "begin-end mode offset device inode path", if the address
// lies between its bounds.
std::string_view path_if_inside(std::string_view line, std::uintptr_t address) {
  std::uintptr_t begin = 0, end = 0;
  const char* last = line.data() + line.size();
  const auto first_read = std::from_chars(line.data(), last, begin, 16);
  if (first_read.ptr == last || *first_read.ptr != '-') return {};
  std::from_chars(first_read.ptr + 1, last, end, 16);
  if (address < begin || address >= end) return {};
  return line.substr(std::min(line.find('/'), line.size()));
}

// Which mapped file a signal came from, without memory of its own to give: buffers are static.
std::string_view mapped_at(std::uintptr_t address) {
  static char line[4096 + 128];
  static char block[4096];
  const int maps = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  std::size_t length = 0;
  for (ssize_t count; maps >= 0 && (count = ::read(maps, block, sizeof block)) > 0;) {
    for (ssize_t i = 0; i < count; ++i) {
      if (block[i] != '\n') {
        if (length < sizeof line) line[length++] = block[i];
        continue;
      }
      const std::string_view path = path_if_inside({line, length}, address);
      if (!path.empty()) return path;
      length = 0;
    }
  }
  return "a file";
}

// Reading from a map goes wrong where the file has become shorter, or its disk fails.
void on_lost_file(int, siginfo_t* info, void*) {
  write_error("tnl: ");
  write_error(mapped_at(reinterpret_cast<std::uintptr_t>(info->si_addr)));
  write_error(" became shorter, or could not be read any more, while it was in use\n");
  ::_exit(kExitFailed);
}

int exit_status(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return kExitOk;
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotFound:
      return kExitBadInput;
    case StatusCode::kInterrupted:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

}  // namespace

void require(const Status& status) {
  if (!status.ok()) throw Exit{exit_status(status.code()), status.message()};
}

void DeviceFlags::add(CLI::App& command) {
  command
      .add_option(
          "--device", device,
          "where to run: cpu; cuda or cuda:N, a GPU; auto, the first GPU or else the CPU; or "
          "reference (fp64, slow)")
      ->capture_default_str();
  command
      .add_option("--precision", precision,
                  "of activations and matrix products on a GPU: bf16, or f32 without its matrix "
                  "units; sums are f32 in both")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  command.add_option("--threads", threads, "CPU threads; 0 takes one for each core")
      ->capture_default_str();
  command.add_option("--cpu-target", cpu_target,
                     "force avx512, avx2 or generic; the default is the best this machine has");
}

Device DeviceFlags::open() const {
  const DType compute = precision == "f32" ? DType::kF32 : DType::kBF16;
  Device opened = require(
      Device::open(device, {.threads = threads, .cpu_target = cpu_target, .gpu_compute = compute}));
  if (!opened.no_gpu_because().empty()) {
    fmt::print(stderr, "running on the CPU: {}\n", opened.no_gpu_because());
  }
  return opened;
}

CLI::Validator seed_range() {
  const auto check = [](const std::string& text) {
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc() && rest == end) return std::string();
    return fmt::format("found '{}', expected an integer from 0 to 2^64 - 1", text);
  };
  return CLI::Validator(check, "");
}

std::string read_text(std::istream& stream, const std::string& name, const char* what) {
  constexpr std::size_t kMost = std::size_t{1} << 28;
  std::string text;
  for (std::string block(1 << 16, '\0'); stream && text.size() <= kMost;) {
    stream.read(block.data(), static_cast<std::streamsize>(block.size()));
    text.append(block, 0, static_cast<std::size_t>(stream.gcount()));
  }
  if (text.size() > kMost) {
    throw Exit{kExitBadInput, fmt::format("{}: found {} of more than {} bytes", name, what, kMost)};
  }
  if (stream.bad()) throw Exit{kExitBadInput, fmt::format("cannot read {} from {}", what, name)};
  return text;
}

std::ifstream open_text(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw Exit{kExitBadInput,
               fmt::format("cannot read {}: found a directory, expected a text file", path)};
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (file) return file;
  throw Exit{kExitBadInput, fmt::format("cannot open {}: {}", path, std::strerror(errno))};
}

void catch_file_signals() {
  std::signal(SIGXFSZ, SIG_IGN);
  struct sigaction action {};
  action.sa_sigaction = on_lost_file;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

void catch_interrupts() {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
}

bool interrupt_requested() {
  return g_interrupts != 0;
}

}  // namespace tnl::command
