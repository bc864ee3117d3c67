#include "core/buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include <fmt/format.h>

namespace tnl {
namespace {

// Walking down the rows of a wide matrix touches a page a row; with 4 KiB pages the attention
// operator spends a third of its time on address translation (docs/kernels/attention_cpu.md).
constexpr std::size_t kHugePage = std::size_t{1} << 21;

// Bytes that the system could give, swap included; SIZE_MAX where it does not say.
std::size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::size_t total = 0;
  bool known = false;
  std::string name, unit;
  for (std::size_t kibibytes = 0; file >> name >> kibibytes; std::getline(file, unit)) {
    if (name != "MemAvailable:" && name != "SwapFree:") continue;
    total += kibibytes * 1024;
    known = true;
  }
  return known ? total : SIZE_MAX;
}

// The system promises more than it has, and ends the program without a word when it is used.
bool more_than_there_is(std::size_t bytes) {
  constexpr std::size_t kLarge = std::size_t{1} << 28;  // smaller ones are not worth the question
  return bytes >= kLarge && bytes > available_memory();
}

}  // namespace

void Buffer::free(void* data) {
  std::free(data);
}

Result<Buffer> Buffer::allocate(std::size_t bytes, const char* purpose) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  const std::size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kAlignment;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  const bool refused = rounded < bytes || more_than_there_is(rounded);
  void* data = refused ? nullptr : std::aligned_alloc(alignment, rounded);
  if (data == nullptr) {
    return unavailable(fmt::format("out of memory: {} bytes for {}, {} are available", bytes,
                                   purpose, available_memory()));
  }
#if defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) ::madvise(data, rounded, MADV_HUGEPAGE);  // a wish: may fail
#endif
  std::memset(data, 0, rounded);
  buffer.data_.reset(data);
  buffer.bytes_ = bytes;
  return buffer;
}

std::size_t Arena::add(std::size_t bytes) {
  const std::size_t offset = bytes_;
  bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return offset;
}

Status Arena::allocate(const char* purpose) {
  auto buffer = Buffer::allocate(bytes_, purpose);
  if (!buffer.ok()) return buffer.status();
  buffer_ = std::move(buffer).value();
  return {};
}

}  // namespace tnl
