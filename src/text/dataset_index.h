// index.json of a data set.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "text/dataset.h"

namespace tnl {

inline constexpr char kIndexFile[] = "index.json";
inline constexpr char kTokenizerFolder[] = "tokenizer";
inline constexpr std::array<const char*, 2> kSplitNames = {"train", "heldout"};  // by Split

struct SplitIndex {
  std::int64_t tokens = 0, documents = 0, bytes = 0;
  std::vector<Dataset::Shard> shards;
};

struct DatasetIndex {
  std::string tokenizer_kind;
  std::int64_t vocab_size = 0;
  std::array<SplitIndex, 2> splits;

  std::string to_json() const;
  // Checks types and ranges, that shards add up, and that file names stay inside of the directory.
  static Result<DatasetIndex> read(const std::filesystem::path& file);
};

}  // namespace tnl
