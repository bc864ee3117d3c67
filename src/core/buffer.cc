#include "core/buffer.h"

#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

namespace tnl {

void Buffer::Free::operator()(void* data) const {
  std::free(data);
}

Result<Buffer> Buffer::allocate(std::size_t bytes, const char* purpose) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* data = rounded < bytes ? nullptr : std::aligned_alloc(kAlignment, rounded);
  if (data == nullptr) {
    return unavailable(fmt::format("out of memory: {} bytes for {}", bytes, purpose));
  }
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
