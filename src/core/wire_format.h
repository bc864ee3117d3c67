// The wire format of protocol buffers, as far as SentencePiece models and TensorBoard events use
// it: fields with a number, read in order and written one behind the other.
// https://protobuf.dev/programming-guides/encoding
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tnl {

class WireReader {
 public:
  struct Field {
    std::uint32_t number = 0;
    std::uint64_t value = 0;   // of a varint, fixed64 or fixed32
    std::string_view content;  // of a length-delimited field
  };

  explicit WireReader(std::string_view message) : rest_(message) {}
  bool done() const { return rest_.empty(); }
  // Nothing where the message is damaged.
  std::optional<Field> next();

 private:
  bool varint(std::uint64_t& value);
  bool fixed(int bytes, std::uint64_t& value);

  std::string_view rest_;
};

class WireWriter {
 public:
  void varint(std::uint32_t number, std::uint64_t value) {
    append_varint(number << 3);
    append_varint(value);
  }
  void float32(std::uint32_t number, float value) {
    append_varint(number << 3 | 5);
    append_fixed(std::bit_cast<std::uint32_t>(value), 4);
  }
  void float64(std::uint32_t number, double value) {
    append_varint(number << 3 | 1);
    append_fixed(std::bit_cast<std::uint64_t>(value), 8);
  }
  // A string, bytes or a message.
  void content(std::uint32_t number, std::string_view value) {
    append_varint(number << 3 | 2);
    append_varint(value.size());
    message_ += value;
  }
  const std::string& message() const { return message_; }

 private:
  void append_varint(std::uint64_t value);
  void append_fixed(std::uint64_t value, int bytes);

  std::string message_;
};

}  // namespace tnl
