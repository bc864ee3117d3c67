// The few fields of a SentencePiece model file that its library keeps to itself, and a model file
// from a list of pieces. Field numbers: sentencepiece_model.proto.
#include <cstring>
#include <optional>

#include "core/try.h"
#include "core/wire_format.h"
#include "text/sentencepiece.h"

namespace tnl {
namespace {

using Field = WireReader::Field;

template <class Visit>
Status each_field(std::string_view message, const Visit& visit) {
  for (WireReader reader(message); !reader.done();) {
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

std::string write_sentencepiece_bpe(const SentencePiecePieces& pieces) {
  constexpr std::uint32_t kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3;
  constexpr std::uint32_t kPiece = 1, kScore = 2, kType = 3;
  constexpr std::uint32_t kModelType = 3, kVocabSize = 4, kByteFallback = 35, kUnkId = 40,
                          kBosId = 41, kEosId = 42, kPadId = 43, kUnkPiece = 45, kBosPiece = 46,
                          kEosPiece = 47, kBpe = 2;
  constexpr std::uint32_t kName = 1, kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4,
                          kEscapeWhitespaces = 5;
  WireWriter model;
  for (const SentencePiecePieces::Piece& piece : pieces.pieces) {
    WireWriter entry;
    entry.content(kPiece, piece.text);
    entry.float32(kScore, piece.score);
    entry.varint(kType, static_cast<std::uint64_t>(piece.type));
    model.content(kPieces, entry.message());
  }
  WireWriter trainer;
  trainer.varint(kModelType, kBpe);
  trainer.varint(kVocabSize, pieces.pieces.size());
  trainer.varint(kByteFallback, pieces.byte_fallback ? 1 : 0);
  const auto special = [&](std::uint32_t id_field, std::uint32_t piece_field, std::int32_t id) {
    trainer.varint(id_field, static_cast<std::uint64_t>(std::int64_t{id}));
    if (id >= 0) trainer.content(piece_field, pieces.pieces[id].text);
  };
  special(kUnkId, kUnkPiece, pieces.unk);
  special(kBosId, kBosPiece, pieces.bos);
  special(kEosId, kEosPiece, pieces.eos);
  trainer.varint(kPadId, ~std::uint64_t{0});
  model.content(kTrainerSpec, trainer.message());
  WireWriter normalizer;
  normalizer.content(kName, "identity");
  normalizer.varint(kAddDummyPrefix, pieces.dummy_prefix ? 1 : 0);
  normalizer.varint(kRemoveExtraWhitespaces, 0);
  normalizer.varint(kEscapeWhitespaces, 1);
  model.content(kNormalizerSpec, normalizer.message());
  return model.message();
}

std::string_view no_dummy_prefix() {
  return std::string_view("\x1a\x02\x18\x00", 4);  // normalizer_spec { add_dummy_prefix: false }
}

}  // namespace tnl
