// A tokenizer that is a table of pieces: id i is pieces[i]. Encoding takes the first piece that
// fits, so with the 256 bytes as pieces it is the tokenizer of bytes.
#pragma once

#include <string>
#include <vector>

#include "tnl/tokenizer.h"

namespace tnl::testing {

class TableTokenizer : public Tokenizer {
 public:
  std::vector<std::string> pieces;
  std::int32_t bos = -1, eos = -1;

  // 256 bytes; with specials, bos 256 and eos 257.
  static TableTokenizer bytes(bool specials) {
    TableTokenizer tokenizer;
    for (int byte = 0; byte < 256; ++byte) {
      tokenizer.pieces.push_back(std::string(1, static_cast<char>(byte)));
    }
    if (specials) {
      tokenizer.pieces.resize(258);
      tokenizer.bos = 256;
      tokenizer.eos = 257;
    }
    return tokenizer;
  }

  std::string_view kind() const override { return "table"; }
  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(pieces.size()); }
  std::int32_t bos_id() const override { return bos; }
  std::int32_t eos_id() const override { return eos; }

  bool special(std::int32_t id) const override { return id == bos || id == eos; }

  Status encode_part(std::string_view text, bool, std::vector<std::int32_t>& ids) const override {
    while (!text.empty()) {
      std::size_t id = static_cast<unsigned char>(text[0]);  // where the table of bytes has it
      if (id >= pieces.size() || pieces[id] != text.substr(0, 1)) {
        for (id = 0; id < pieces.size(); ++id) {
          if (!pieces[id].empty() && text.substr(0, pieces[id].size()) == pieces[id]) break;
        }
      }
      if (id == pieces.size()) {
        text.remove_prefix(1);  // a tokenizer that loses what it does not know
        continue;
      }
      ids.push_back(static_cast<std::int32_t>(id));
      text.remove_prefix(pieces[id].size());
    }
    return {};
  }
  // After a space.
  std::size_t last_cut(std::string_view text) const override { return text.rfind(' ') + 1; }
  Result<std::string> piece(std::int32_t id, bool first) const override {
    const std::string& piece = pieces.at(id);
    return first && piece.substr(0, 1) == " " ? piece.substr(1) : piece;
  }
  Status save(const std::filesystem::path&) const override { return {}; }
};

}  // namespace tnl::testing
