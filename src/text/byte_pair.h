// Byte-pair encoding (Sennrich et al., arXiv 1508.07909): the merge table and the merging of a
// word.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tnl {

// Which pairs of ids join, how early, and into what: an open-addressing hash table.
class MergeTable {
 public:
  struct Merge {
    std::int32_t rank = -1, id = -1;  // rank -1: the pair does not join
  };

  struct Join {
    std::int32_t left = 0, right = 0;
    Merge merge;
  };

  explicit MergeTable(std::size_t merges);
  // False where the pair is there already. At most as many as promised.
  bool insert(std::int32_t left, std::int32_t right, Merge merge);
  // All of `joins`, or the index of the first whose pair is there twice.
  static constexpr std::size_t kNoneTwice = static_cast<std::size_t>(-1);
  static std::size_t build(std::span<const Join> joins, MergeTable& table);
  Merge find(std::int32_t left, std::int32_t right) const;

 private:
  struct Slot {
    std::uint64_t key = kFree;
    Merge merge;
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  Slot& slot(std::uint64_t key);

  std::vector<Slot> slots_;
  int shift_ = 0;
};

// Joins the pair of lowest rank, leftmost first, until none is left: O(n log n) for n symbols.
class PairMerger {
 public:
  // Replaces `symbols` by what remains and returns how many that are.
  std::size_t merge(const MergeTable& table, std::span<std::int32_t> symbols);

 private:
  struct Candidate {
    std::int32_t rank, id;
    std::uint32_t left, right;       // positions of the two symbols
    std::int32_t left_id, right_id;  // what they were: a candidate is stale when they changed
  };
  static bool later(const Candidate& a, const Candidate& b);
  void consider(const MergeTable& table, std::span<const std::int32_t> symbols, std::uint32_t left,
                std::uint32_t right);

  std::vector<Candidate> heap_;
  std::vector<std::uint32_t> next_, previous_;
};

}  // namespace tnl
