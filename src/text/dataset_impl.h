// What Dataset and DataLoader share.
#pragma once

#include <array>
#include <filesystem>
#include <vector>

#include "text/dataset.h"
#include "text/dataset_index.h"
#include "text/shard.h"

namespace tnl {

struct Dataset::Impl {
  std::filesystem::path directory;
  DatasetIndex index;
  std::array<std::vector<ShardReader>, 2> shards;
  std::array<std::vector<std::int64_t>, 2> first_documents;  // of each shard

  // A document and the shard that holds it.
  struct Place {
    const ShardReader* shard = nullptr;
    ShardReader::Range tokens;
  };
  // 0 <= document < documents(split).
  Result<Place> find(Split split, std::int64_t document) const;
};

}  // namespace tnl
