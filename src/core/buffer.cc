#include "core/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

namespace tnl {
namespace {

// Walking down the rows of a wide matrix touches a page a row; with 4 KiB pages the attention
// operator spends a third of its time on address translation (docs/kernels/attention_cpu.md).
constexpr std::size_t kHugePage = std::size_t{1} << 21;

}  // namespace

void Buffer::free(void* data) {
  std::free(data);
}

Result<Buffer> Buffer::allocate(std::size_t bytes, const char* purpose) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  const std::size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kAlignment;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* data = rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded);
  if (data == nullptr) {
    return unavailable(fmt::format("out of memory: {} bytes for {}", bytes, purpose));
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
