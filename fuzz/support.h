// What the targets share. A parser gets the input as a file, as it does in life; what it answers is
// held to three rules: a sentence fit to print, no allocation out of proportion to the input, and
// what was read can be written and read again.
#pragma once

#include <sanitizer/allocator_interface.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "tnl/status.h"

#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (0)

namespace tnl::fuzz {

namespace fs = std::filesystem;

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The part of `input` before the first NUL byte, which is dropped with it: inputs of several files.
inline std::string_view take_part(std::string_view& input) {
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view part = input.substr(0, end);
  input.remove_prefix(std::min(end + 1, input.size()));
  return part;
}

// A directory of this process, in memory where the system has a place for that.
class Workplace {
 public:
  Workplace() {
    const char* base = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    std::string name = std::string(base) + "/tnl-fuzz-XXXXXX";
    root_ = ::mkdtemp(name.data());
  }
  ~Workplace() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  fs::path path(std::string_view name) const { return root_ / name; }
  fs::path write(std::string_view name, std::string_view content) const {
    const fs::path file = path(name);
    std::ofstream(file, std::ios::binary | std::ios::trunc)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
    return file;
  }
  std::string read(std::string_view name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  fs::path root_;
};

inline const Workplace& workplace() {
  static const Workplace place;
  return place;
}

// While it lives, no single allocation may exceed `constant` bytes and 64 for each byte of input:
// a length that a file claims is never believed before the bytes are there.
class AllocationLimit {
 public:
  explicit AllocationLimit(std::size_t input_bytes, std::size_t constant = std::size_t{1} << 20) {
    static const bool installed =
        __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0;
    FUZZ_CHECK(installed);
    limit().store(constant + 64 * input_bytes);
  }
  ~AllocationLimit() { limit().store(SIZE_MAX); }
  AllocationLimit(const AllocationLimit&) = delete;
  AllocationLimit& operator=(const AllocationLimit&) = delete;

 private:
  static std::atomic<std::size_t>& limit() {
    static std::atomic<std::size_t> bytes{SIZE_MAX};
    return bytes;
  }
  static void on_malloc(const volatile void*, std::size_t bytes) {
    if (bytes <= limit().load()) return;
    limit().store(SIZE_MAX);
    std::fprintf(stderr, "an allocation of %zu bytes\n", bytes);
    std::abort();
  }
  static void on_free(const volatile void*) {}
};

// An error is one line of bounded length that a terminal can be trusted with.
inline void check_sentence(const Status& status) {
  FUZZ_CHECK(!status.ok());
  FUZZ_CHECK(!status.message().empty() && status.message().size() < 2000);
  for (const char c : status.message()) {
    FUZZ_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
}

}  // namespace tnl::fuzz
