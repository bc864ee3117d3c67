// Tokens that a vocabulary takes out of a text before it is split into words.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tnl {

class AddedTokens {
 public:
  struct Match {
    std::size_t begin = 0, bytes = 0;
    std::int32_t id = -1;
  };

  // `content` is not empty; of one that is there already the first id stays.
  void add(std::string_view content, std::int32_t id);
  // Takes no longer what stands for `id`.
  void remove(std::int32_t id) {
    std::erase_if(ids_, [id](const auto& token) { return token.second == id; });
  }
  bool empty() const { return ids_.empty(); }
  // The leftmost token in `text`, of several that begin there the longest. Without one: begin at
  // the end of the text, no bytes, id -1.
  Match find(std::string_view text) const;
  // Some token holds the two bytes side by side.
  bool hold_pair(char left, char right) const { return pairs_[index(left, right)]; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  static std::size_t index(char left, char right) {
    return static_cast<std::size_t>(static_cast<unsigned char>(left)) << 8 |
           static_cast<unsigned char>(right);
  }

  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> ids_;
  std::array<std::vector<std::size_t>, 256> lengths_;  // by first byte, the longest first
  std::bitset<65536> pairs_;
};

}  // namespace tnl
