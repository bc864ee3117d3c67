#include "text/byte_tokenizer.h"

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "core/try.h"

namespace tnl {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  std::string_view kind() const override { return "bytes"; }
  std::int64_t vocab_size() const override { return 258; }
  std::int32_t bos_id() const override { return 256; }
  std::int32_t eos_id() const override { return 257; }
  bool special(std::int32_t id) const override { return id == 256 || id == 257; }

  Status encode_part(std::string_view part, bool /*first*/,
                     std::vector<std::int32_t>& ids) const override {
    ids.reserve(ids.size() + part.size());
    for (const char c : part) ids.push_back(static_cast<unsigned char>(c));
    return {};
  }

  std::size_t last_cut(std::string_view text) const override { return text.size(); }

  Result<std::string> piece(std::int32_t id, bool /*first*/) const override {
    if (id < 0 || id > 257) {
      return invalid_argument(
          fmt::format("token id {} is outside of the vocabulary, 0 to 257", id));
    }
    return special(id) ? std::string() : std::string(1, static_cast<char>(id));
  }

  Status save(const std::filesystem::path& directory) const override {
    TNL_TRY(make_directories(directory));
    return write_file(directory / kByteTokenizerFile, "{\"kind\": \"bytes\"}\n");
  }
};

}  // namespace

std::shared_ptr<const Tokenizer> make_byte_tokenizer() {
  return std::make_shared<ByteTokenizer>();
}

Result<std::shared_ptr<const Tokenizer>> load_byte_tokenizer(const std::filesystem::path& file) {
  TNL_ASSIGN(const std::string text, read_file(file, 1 << 16));
  const auto json = parse_json(text);
  if (!json.is_object() || json.value("kind", nlohmann::json()) != "bytes") {
    return invalid_argument(
        fmt::format("{}: expected a JSON object with \"kind\": \"bytes\"", file.string()));
  }
  return make_byte_tokenizer();
}

}  // namespace tnl
