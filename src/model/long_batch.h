// A batch of any length, which a pass takes a chunk at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tnl {

// A stretch of a long batch that one pass takes: the end of a sequence that began before it, whole
// sequences, the beginning of one that goes on behind it; or the middle of a single one.
struct Chunk {
  std::int64_t begin = 0, end = 0;  // tokens of the batch
  bool continues = false;           // its first sequence began before it
  bool continued = false;           // its last sequence goes on behind it
  std::int64_t position = 0;        // of its first token in its sequence
  std::int64_t tokens() const { return end - begin; }
};

// Where a long batch is cut. Only a sequence longer than a chunk is ever cut; it begins where there
// is room, so that at most one state crosses any cut, and none where whole sequences meet.
class ChunkCuts {
 public:
  // cu_seqlens: [N + 1], rising from 0; must outlive this. tokens > 0: the longest chunk.
  ChunkCuts(std::span<const std::int64_t> cu_seqlens, std::int64_t tokens);

  std::int64_t count() const { return static_cast<std::int64_t>(begins_.size()) - 1; }
  Chunk chunk(std::int64_t index) const;
  // The sequences of a chunk as offsets into it, without empty ones: from 0 to chunk.tokens().
  void sequences(const Chunk& chunk, std::vector<std::int64_t>& cu_seqlens) const;

 private:
  std::int64_t position(std::int64_t token) const;  // in its sequence

  std::span<const std::int64_t> cu_seqlens_;
  std::vector<std::int64_t> begins_;  // of each chunk, and the end of the last
};

}  // namespace tnl
