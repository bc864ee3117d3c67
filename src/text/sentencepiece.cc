#include "text/sentencepiece.h"

#include <array>
#include <bitset>

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include "core/file.h"
#include "core/printable.h"
#include "core/try.h"
#include "text/unicode.h"
#include "text/word_cache.h"

namespace tnl {
namespace {

constexpr std::int64_t kLargestModel = std::int64_t{1} << 28;
constexpr std::int64_t kLargestWord = std::int64_t{1} << 28;
constexpr std::string_view kSpaceSymbol = "\xe2\x96\x81";  // U+2581, a space inside of pieces

// Which bytes stand side by side in some piece. Between two that never do, no piece can lie: there
// a text may be cut and the parts encoded apart, with the same result.
class Neighbours {
 public:
  void add(std::string_view piece) {
    for (std::size_t i = 0; i + 1 < piece.size(); ++i) pairs_.set(index(piece[i], piece[i + 1]));
  }
  bool may_cut(char before, char after) const {
    return (static_cast<unsigned char>(after) & 0xc0u) != 0x80u && !pairs_[index(before, after)];
  }

 private:
  static std::size_t index(char before, char after) {
    return static_cast<std::size_t>(static_cast<unsigned char>(before)) << 8 |
           static_cast<unsigned char>(after);
  }
  std::bitset<65536> pairs_;
};

struct Workspace {
  WordCache cache;
  std::vector<int> ids;
};

// What loading finds out.
struct SentencePieceModel {
  std::string file;  // as read, for save()
  sentencepiece::SentencePieceProcessor processor;
  std::vector<std::string> pieces;  // the text of each id
  std::vector<bool> control;
  std::array<std::int32_t, 256> byte_ids{};
  SentencePieceSettings settings;
  // Every byte can be said and nothing is normalized: texts are cut into words, words remembered,
  // and the dummy prefix is ours to add. Else the library gets texts as they are.
  bool lossless = false;
  Neighbours neighbours;
};

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(std::unique_ptr<const SentencePieceModel> model)
      : model_(std::move(model)) {}

  std::string_view kind() const override { return "sentencepiece"; }
  std::int64_t vocab_size() const override {
    return static_cast<std::int64_t>(model_->pieces.size());
  }
  std::int32_t bos_id() const override { return model_->processor.bos_id(); }
  std::int32_t eos_id() const override { return model_->processor.eos_id(); }
  bool special(std::int32_t id) const override {
    return id >= 0 && id < vocab_size() && model_->control[id];
  }

  Status encode_part(std::string_view part, bool first,
                     std::vector<std::int32_t>& ids) const override {
    const auto workspace = workspaces_.borrow();
    if (!model_->lossless) return encode_with_library(part, *workspace, ids);
    if (first && model_->settings.add_dummy_prefix && !part.empty()) {
      std::string prefixed(1, ' ');
      prefixed.append(part);
      return encode_words(prefixed, *workspace, ids);
    }
    return encode_words(part, *workspace, ids);
  }

  std::size_t last_cut(std::string_view text) const override {
    if (!model_->lossless) return 0;
    for (std::size_t cut = text.size(); cut-- > 1;) {
      if (model_->neighbours.may_cut(text[cut - 1], text[cut])) return cut;
    }
    return 0;
  }

  Result<std::string> piece(std::int32_t id, bool first) const override {
    if (id < 0 || id >= vocab_size()) {
      return invalid_argument(
          fmt::format("token id {} is outside of the vocabulary, 0 to {}", id, vocab_size() - 1));
    }
    const std::string& text = model_->pieces[id];
    const bool drops = first && drops_first_space() && text.starts_with(' ') &&
                       !model_->processor.IsByte(id) && !model_->processor.IsUnknown(id);
    return drops ? text.substr(1) : text;
  }

  Status save(const std::filesystem::path& directory) const override {
    TNL_TRY(make_directories(directory));
    return write_file(directory / "tokenizer.model", model_->file);
  }

 private:
  bool drops_first_space() const {
    return model_->settings.add_dummy_prefix || model_->settings.remove_extra_whitespaces;
  }
  Status encode_words(std::string_view text, Workspace& workspace,
                      std::vector<std::int32_t>& ids) const;
  Status encode_word(std::string_view word, Workspace& workspace,
                     std::vector<std::int32_t>& ids) const;
  Status encode_with_library(std::string_view text, Workspace& workspace,
                             std::vector<std::int32_t>& ids) const;

  const std::unique_ptr<const SentencePieceModel> model_;
  mutable Pool<Workspace> workspaces_;
};

Status SentencePieceTokenizer::encode_words(std::string_view text, Workspace& workspace,
                                            std::vector<std::int32_t>& ids) const {
  std::size_t begin = 0;  // of the word that is growing
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    const bool as_bytes = !point.valid || text.substr(at, point.bytes) == kSpaceSymbol;
    if (at > begin && (as_bytes || model_->neighbours.may_cut(text[at - 1], text[at]))) {
      TNL_TRY(encode_word(text.substr(begin, at - begin), workspace, ids));
      begin = at;
    }
    if (as_bytes) {
      for (std::size_t i = 0; i < point.bytes; ++i) {
        ids.push_back(model_->byte_ids[static_cast<unsigned char>(text[at + i])]);
      }
      begin = at + point.bytes;
    }
    at += point.bytes;
  }
  return begin < text.size() ? encode_word(text.substr(begin), workspace, ids) : Status();
}

Status SentencePieceTokenizer::encode_word(std::string_view word, Workspace& workspace,
                                           std::vector<std::int32_t>& ids) const {
  if (const auto known = workspace.cache.find(word); !known.empty()) {
    ids.insert(ids.end(), known.begin(), known.end());
    return {};
  }
  TNL_TRY(encode_with_library(word, workspace, ids));
  workspace.cache.insert(word, workspace.ids);
  return {};
}

Status SentencePieceTokenizer::encode_with_library(std::string_view text, Workspace& workspace,
                                                   std::vector<std::int32_t>& ids) const {
  if (text.size() > static_cast<std::size_t>(kLargestWord)) {
    return invalid_argument(
        fmt::format("the text holds {} bytes without a place to cut, expected at most {}",
                    text.size(), kLargestWord));
  }
  const auto status = model_->processor.Encode(text, &workspace.ids);
  if (!status.ok())
    return internal_error(fmt::format("SentencePiece: {}", printable(status.error_message(), 200)));
  ids.insert(ids.end(), workspace.ids.begin(), workspace.ids.end());
  return {};
}

std::string with_spaces(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const bool space = piece.starts_with(kSpaceSymbol);
    text.push_back(space ? ' ' : piece.front());
    piece.remove_prefix(space ? kSpaceSymbol.size() : 1);
  }
  return text;
}

// The byte that a piece such as <0x0A> stands for; -1 where it is not spelled so.
int byte_of_piece(const std::string& piece) {
  for (int byte = 0; byte < 256; ++byte) {
    if (piece == fmt::format("<0x{:02X}>", byte)) return byte;
  }
  return -1;
}

Status read_pieces(SentencePieceModel& model) {
  const auto& processor = model.processor;
  const int count = processor.GetPieceSize();
  model.byte_ids.fill(-1);
  for (int id = 0; id < count; ++id) {
    const std::string& piece = processor.IdToPiece(id);
    model.control.push_back(processor.IsControl(id));
    std::string text;
    if (processor.IsByte(id)) {
      const int byte = byte_of_piece(piece);
      if (byte < 0) {
        return invalid_argument(
            fmt::format("the byte piece {} is not spelled as <0x00> to <0xFF>", id));
      }
      model.byte_ids[byte] = id;
      text = static_cast<char>(byte);
    } else if (processor.IsUnknown(id)) {
      (void)processor.Decode(std::vector<int>{id}, &text);
    } else if (!processor.IsControl(id)) {
      text = with_spaces(piece);
      model.neighbours.add(text);
    }
    model.pieces.push_back(std::move(text));
  }
  return {};
}

Status read_model(SentencePieceModel& model) {
  TNL_ASSIGN(model.settings, read_settings(model.file));
  const SentencePieceSettings& settings = model.settings;
  model.lossless = settings.byte_fallback && !settings.has_rules &&
                   !settings.remove_extra_whitespaces && settings.escape_whitespaces &&
                   !settings.whitespace_as_suffix;
  const std::string content =
      model.lossless ? model.file + std::string(no_dummy_prefix()) : model.file;
  const auto status = model.processor.LoadFromSerializedProto(content);
  if (!status.ok()) {
    return invalid_argument(fmt::format("damaged or not a SentencePiece model ({})",
                                        printable(status.error_message(), 200)));
  }
  TNL_TRY(read_pieces(model));
  for (const std::int32_t id : model.byte_ids) {
    if (model.lossless && id < 0) return invalid_argument("a byte has no piece, expected all 256");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_sentencepiece(const std::filesystem::path& path) {
  auto model = std::make_unique<SentencePieceModel>();
  TNL_ASSIGN(model->file, read_file(path, kLargestModel));
  if (const Status status = read_model(*model); !status.ok()) {
    return Status(status.code(), fmt::format("{}: {}", path.string(), status.message()));
  }
  return std::shared_ptr<const Tokenizer>(
      std::make_shared<SentencePieceTokenizer>(std::move(model)));
}

}  // namespace tnl
