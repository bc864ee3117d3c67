// The few fields of a SentencePiece model file that its library keeps to itself, read from the wire
// format of protocol buffers. Field numbers: sentencepiece_model.proto.
#include <cstring>
#include <optional>

#include "core/try.h"
#include "text/sentencepiece.h"

namespace tnl {
namespace {

struct Field {
  std::uint32_t number = 0;
  std::uint64_t value = 0;   // of a varint
  std::string_view content;  // of a length-delimited field
};

class FieldReader {
 public:
  explicit FieldReader(std::string_view message) : rest_(message) {}

  bool done() const { return rest_.empty(); }

  // Nothing where the message is damaged.
  std::optional<Field> next() {
    std::uint64_t tag = 0;
    Field field;
    if (!varint(tag) || tag >> 3 == 0 || tag >> 3 >= (1u << 29)) return {};
    field.number = static_cast<std::uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        if (!varint(field.value)) return {};
        return field;
      case 1:
        return skip(8) ? std::optional(field) : std::nullopt;
      case 2: {
        std::uint64_t bytes = 0;
        if (!varint(bytes) || bytes > rest_.size()) return {};
        field.content = rest_.substr(0, bytes);
        rest_.remove_prefix(bytes);
        return field;
      }
      case 5:
        return skip(4) ? std::optional(field) : std::nullopt;
      default:
        return {};
    }
  }

 private:
  bool varint(std::uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7fu) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool skip(std::size_t bytes) {
    if (rest_.size() < bytes) return false;
    rest_.remove_prefix(bytes);
    return true;
  }

  std::string_view rest_;
};

template <class Visit>
Status each_field(std::string_view message, const Visit& visit) {
  for (FieldReader reader(message); !reader.done();) {
    const std::optional<Field> field = reader.next();
    if (!field) return invalid_argument("damaged or not a SentencePiece model");
    TNL_TRY(visit(*field));
  }
  return {};
}

std::uint32_t word_at(std::string_view bytes, std::size_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data() + 4 * index, 4);
  return word;
}

// A table of replacements: the size of a double array of 4-byte units, the array, and replacements
// that end with NUL. The library follows offsets and indices in it without looking, so all of them
// have to lie inside. Bits of a unit: 0-7 label, 8 has a value, 9 offset is in units of 256, 10-30
// offset; 31 and the rest: a value, which is an index into the replacements.
Status check_rules(std::string_view rules) {
  const Status damaged = invalid_argument("its table of replacements is damaged");
  if (rules.empty()) return {};
  if (rules.size() < 8) return damaged;
  const std::size_t bytes = word_at(rules, 0);
  rules.remove_prefix(4);
  if (bytes < 4 || bytes % 4 != 0 || bytes >= rules.size()) return damaged;
  const std::string_view units = rules.substr(0, bytes), replacements = rules.substr(bytes);
  if (replacements.back() != '\0') return damaged;
  constexpr std::uint32_t kIsValue = 1u << 31, kHasValue = 1u << 8, kWide = 1u << 9;
  for (std::size_t i = 0; i < bytes / 4; ++i) {
    const std::uint32_t unit = word_at(units, i);
    if ((unit & kIsValue) != 0 && i > 0) continue;  // no byte leads here
    const std::size_t children = i ^ (std::size_t{unit >> 10} << ((unit & kWide) != 0 ? 8 : 0));
    if ((children | 0xff) >= bytes / 4) return damaged;
    const std::uint32_t value = word_at(units, children) & ~kIsValue;
    if ((unit & kHasValue) != 0 && value >= replacements.size()) return damaged;
  }
  return {};
}

}  // namespace

Result<SentencePieceSettings> read_settings(std::string_view model) {
  constexpr std::uint32_t kPiece = 1, kPieceText = 1, kTrainerSpec = 2, kNormalizerSpec = 3,
                          kTreatWhitespaceAsSuffix = 24, kByteFallback = 35, kCharsMap = 2,
                          kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4, kEscapeWhitespaces = 5,
                          kDenormalizerSpec = 5;
  SentencePieceSettings result;
  const auto trainer = [&](const Field& field) -> Status {
    if (field.number == kTreatWhitespaceAsSuffix) result.whitespace_as_suffix = field.value != 0;
    if (field.number == kByteFallback) result.byte_fallback = field.value != 0;
    return {};
  };
  const auto normalizer = [&](const Field& field) -> Status {
    if (field.number == kCharsMap) {
      result.has_rules = !field.content.empty();
      return check_rules(field.content);
    }
    if (field.number == kAddDummyPrefix) result.add_dummy_prefix = field.value != 0;
    if (field.number == kRemoveExtraWhitespaces) result.remove_extra_whitespaces = field.value != 0;
    if (field.number == kEscapeWhitespaces) result.escape_whitespaces = field.value != 0;
    return {};
  };
  const auto denormalizer = [&](const Field& field) -> Status {
    return field.number == kCharsMap ? check_rules(field.content) : Status();
  };
  // The library ends the program where a piece holds one.
  const auto piece = [](const Field& field) -> Status {
    if (field.number != kPieceText || field.content.find('\0') == std::string_view::npos) return {};
    return invalid_argument("a piece holds a NUL byte");
  };
  TNL_TRY(each_field(model, [&](const Field& field) -> Status {
    if (field.number == kPiece) return each_field(field.content, piece);
    if (field.number == kTrainerSpec) return each_field(field.content, trainer);
    if (field.number == kNormalizerSpec) return each_field(field.content, normalizer);
    if (field.number == kDenormalizerSpec) return each_field(field.content, denormalizer);
    return {};
  }));
  return result;
}

std::string_view no_dummy_prefix() {
  return std::string_view("\x1a\x02\x18\x00", 4);  // normalizer_spec { add_dummy_prefix: false }
}

}  // namespace tnl
