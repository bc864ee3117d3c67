#include "core/wire_format.h"

namespace tnl {

std::optional<WireReader::Field> WireReader::next() {
  std::uint64_t tag = 0;
  Field field;
  if (!varint(tag) || tag >> 3 == 0 || tag >> 3 >= (1u << 29)) return {};
  field.number = static_cast<std::uint32_t>(tag >> 3);
  bool whole = false;
  switch (tag & 7) {
    case 0:
      whole = varint(field.value);
      break;
    case 1:
      whole = fixed(8, field.value);
      break;
    case 2: {
      std::uint64_t bytes = 0;
      whole = varint(bytes) && bytes <= rest_.size();
      if (!whole) break;
      field.content = rest_.substr(0, bytes);
      rest_.remove_prefix(bytes);
      break;
    }
    case 5:
      whole = fixed(4, field.value);
      break;
    default:
      break;
  }
  return whole ? std::optional(field) : std::nullopt;
}

bool WireReader::varint(std::uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7fu) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

bool WireReader::fixed(int bytes, std::uint64_t& value) {
  if (rest_.size() < static_cast<std::size_t>(bytes)) return false;
  value = 0;
  for (int i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(rest_[i]);
  rest_.remove_prefix(bytes);
  return true;
}

void WireWriter::append_varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) message_ += static_cast<char>(value | 0x80);
  message_ += static_cast<char>(value);
}

void WireWriter::append_fixed(std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) message_ += static_cast<char>(value >> (8 * i) & 0xff);
}

}  // namespace tnl
