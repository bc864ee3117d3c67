#include "text/byte_pair.h"

#include <algorithm>
#include <bit>

#include "core/check.h"

namespace tnl {
namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(std::size_t merges) : slots_(std::bit_ceil(2 * merges + 2)) {
  shift_ = 64 - std::countr_zero(slots_.size());
}

MergeTable::Slot& MergeTable::slot(std::uint64_t key) {
  std::size_t at = (key * 0x9e3779b97f4a7c15u) >> shift_;
  while (slots_[at].key != key && slots_[at].key != kFree) at = (at + 1) & (slots_.size() - 1);
  return slots_[at];
}

bool MergeTable::insert(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t key = pair_key(left, right);
  Slot& place = slot(key);
  if (place.key == key) return false;
  place = {key, merge};
  return true;
}

std::size_t MergeTable::build(std::span<const Join> joins, MergeTable& table) {
  table = MergeTable(joins.size());
  for (std::size_t i = 0; i < joins.size(); ++i) {
    if (!table.insert(joins[i].left, joins[i].right, joins[i].merge)) return i;
  }
  return kNoneTwice;
}

MergeTable::Merge MergeTable::find(std::int32_t left, std::int32_t right) const {
  return const_cast<MergeTable*>(this)->slot(pair_key(left, right)).merge;
}

bool PairMerger::later(const Candidate& a, const Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
}

void PairMerger::consider(const MergeTable& table, std::span<const std::int32_t> symbols,
                          std::uint32_t left, std::uint32_t right) {
  const MergeTable::Merge merge = table.find(symbols[left], symbols[right]);
  if (merge.rank < 0) return;
  heap_.push_back({merge.rank, merge.id, left, right, symbols[left], symbols[right]});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

std::size_t PairMerger::merge(const MergeTable& table, std::span<std::int32_t> symbols) {
  const auto count = static_cast<std::uint32_t>(symbols.size());
  TNL_CHECK(count == symbols.size());
  next_.resize(count);
  previous_.resize(count);
  heap_.clear();
  for (std::uint32_t i = 0; i < count; ++i) {
    next_[i] = i + 1;
    previous_[i] = i - 1;  // of the first: 2^32 - 1, never below count
    if (i + 1 < count) consider(table, symbols, i, i + 1);
  }
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Candidate best = heap_.back();
    heap_.pop_back();
    if (symbols[best.left] != best.left_id || symbols[best.right] != best.right_id ||
        next_[best.left] != best.right) {
      continue;
    }
    symbols[best.left] = best.id;
    symbols[best.right] = -1;
    const std::uint32_t after = next_[best.right];
    next_[best.left] = after;
    if (after < count) {
      previous_[after] = best.left;
      consider(table, symbols, best.left, after);
    }
    if (previous_[best.left] < count) consider(table, symbols, previous_[best.left], best.left);
  }
  return static_cast<std::size_t>(std::remove(symbols.begin(), symbols.end(), -1) -
                                  symbols.begin());
}

}  // namespace tnl
