#include "model/long_batch.h"

#include <algorithm>
#include <iterator>

#include "core/check.h"

namespace tnl {

ChunkCuts::ChunkCuts(std::span<const std::int64_t> cu_seqlens, std::int64_t tokens)
    : cu_seqlens_(cu_seqlens) {
  TNL_CHECK(tokens > 0 && !cu_seqlens.empty());
  begins_.push_back(0);
  for (std::size_t n = 0; n + 1 < cu_seqlens.size(); ++n) {
    const std::int64_t begin = cu_seqlens[n], end = cu_seqlens[n + 1];
    const bool fits = end - begins_.back() <= tokens;
    if (!fits && end - begin <= tokens) begins_.push_back(begin);
    while (end - begins_.back() > tokens) begins_.push_back(begins_.back() + tokens);
  }
  if (cu_seqlens.back() > 0) begins_.push_back(cu_seqlens.back());
}

std::int64_t ChunkCuts::position(std::int64_t token) const {
  return token - *std::prev(std::upper_bound(cu_seqlens_.begin(), cu_seqlens_.end(), token));
}

Chunk ChunkCuts::chunk(std::int64_t index) const {
  const std::int64_t begin = begins_[index], end = begins_[index + 1];
  const std::int64_t entry = position(begin);
  return {.begin = begin,
          .end = end,
          .continues = entry > 0,
          .continued = position(end) > 0,
          .position = entry};
}

void ChunkCuts::sequences(const Chunk& chunk, std::vector<std::int64_t>& cu_seqlens) const {
  cu_seqlens.assign(1, 0);
  auto next = std::upper_bound(cu_seqlens_.begin(), cu_seqlens_.end(), chunk.begin);
  for (; next != cu_seqlens_.end() && *next < chunk.end; ++next) {
    const std::int64_t offset = *next - chunk.begin;
    if (offset > cu_seqlens.back()) cu_seqlens.push_back(offset);
  }
  if (chunk.tokens() > cu_seqlens.back()) cu_seqlens.push_back(chunk.tokens());
}

}  // namespace tnl
