#include "text/added_tokens.h"

#include <algorithm>

namespace tnl {

void AddedTokens::add(std::string_view content, std::int32_t id) {
  if (!ids_.emplace(content, id).second) return;
  auto& lengths = lengths_[static_cast<unsigned char>(content[0])];
  const auto place =
      std::lower_bound(lengths.begin(), lengths.end(), content.size(), std::greater<>());
  if (place == lengths.end() || *place != content.size()) lengths.insert(place, content.size());
  for (std::size_t i = 0; i + 1 < content.size(); ++i) {
    pairs_.set(index(content[i], content[i + 1]));
  }
}

AddedTokens::Match AddedTokens::find(std::string_view text) const {
  if (empty()) return {text.size(), 0, -1};
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (const std::size_t bytes : lengths_[static_cast<unsigned char>(text[at])]) {
      if (bytes > text.size() - at) continue;
      const auto found = ids_.find(text.substr(at, bytes));
      if (found != ids_.end()) return {at, bytes, found->second};
    }
  }
  return {text.size(), 0, -1};
}

}  // namespace tnl
