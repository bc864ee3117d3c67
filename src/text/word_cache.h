// Remembers the ids of short words. Text repeats its words, so most of encoding is a lookup here.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

namespace tnl {

// Direct-mapped: a new word takes the place of the one that hashes alike. Never grows.
class WordCache {
 public:
  WordCache() : entries_(kEntries) {}

  // The ids of `word`, or an empty span: not remembered. Valid until the next insert().
  std::span<const std::int32_t> find(std::string_view word) const {
    if (word.size() > kWordBytes || word.empty()) return {};
    const Key key = make_key(word);
    const Entry& entry = entries_[slot(key)];
    if (entry.word_bytes != word.size() || entry.key != key) return {};
    return {entry.ids.data(), entry.count};
  }

  void insert(std::string_view word, std::span<const std::int32_t> ids) {
    if (word.size() > kWordBytes || ids.size() > kIds || word.empty()) return;
    const Key key = make_key(word);
    Entry& entry = entries_[slot(key)];
    entry.key = key;
    entry.word_bytes = static_cast<std::uint16_t>(word.size());
    entry.count = static_cast<std::uint16_t>(ids.size());
    std::copy(ids.begin(), ids.end(), entry.ids.begin());
  }

 private:
  static constexpr std::size_t kEntries = std::size_t{1} << 15, kWordBytes = 24, kIds = 9;
  using Key = std::array<std::uint64_t, kWordBytes / 8>;
  struct Entry {  // one cache line
    Key key{};
    std::uint16_t word_bytes = 0, count = 0;
    std::array<std::int32_t, kIds> ids{};
  };
  static_assert(sizeof(Entry) == 64);

  static Key make_key(std::string_view word) {
    Key key{};
    std::memcpy(key.data(), word.data(), word.size());
    return key;
  }
  static std::size_t slot(const Key& key) {
    std::uint64_t hash = key[0] * 0x9e3779b97f4a7c15u;
    hash = (hash ^ (hash >> 32) ^ key[1]) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 32) ^ key[2]) * 0x94d049bb133111ebu;
    return hash >> (64 - 15);
  }

  std::vector<Entry> entries_;
};

// Working memory that threads borrow from an otherwise immutable object.
template <class T>
class Pool {
 public:
  class Loan {
   public:
    Loan(Pool& pool, std::unique_ptr<T> item) : pool_(pool), item_(std::move(item)) {}
    ~Loan() { pool_.give_back(std::move(item_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    T& operator*() const { return *item_; }

   private:
    Pool& pool_;
    std::unique_ptr<T> item_;
  };

  Loan borrow() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) return Loan(*this, std::make_unique<T>());
    std::unique_ptr<T> item = std::move(free_.back());
    free_.pop_back();
    return Loan(*this, std::move(item));
  }

 private:
  void give_back(std::unique_ptr<T> item) {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(item));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;
};

}  // namespace tnl
