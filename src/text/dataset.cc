#include "text/dataset.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/checksum.h"
#include "core/try.h"
#include "text/dataset_impl.h"

namespace tnl {
namespace {

std::size_t number(Dataset::Split split) {
  return static_cast<std::size_t>(split);
}

Status check_shard(const std::filesystem::path& path, const Dataset::Shard& expected,
                   std::int64_t vocab_size, const ShardReader& found) {
  if (found.tokens() == expected.tokens && found.documents() == expected.documents &&
      found.file_bytes() == expected.bytes && found.header().checksum == expected.checksum &&
      found.header().vocab_size == static_cast<std::uint64_t>(vocab_size)) {
    return {};
  }
  return invalid_argument(
      fmt::format("{}: {} tokens in {} documents with checksum {:016x} for a vocabulary of {}, "
                  "expected by {}: {} in {} with {:016x} for {}",
                  path.string(), found.tokens(), found.documents(), found.header().checksum,
                  found.header().vocab_size, kIndexFile, expected.tokens, expected.documents,
                  expected.checksum, vocab_size));
}

}  // namespace

Result<Dataset> Dataset::open(const std::filesystem::path& directory) {
  auto impl = std::make_shared<Impl>();
  impl->directory = directory;
  TNL_ASSIGN(impl->index, DatasetIndex::read(directory / kIndexFile));
  for (std::size_t split = 0; split < 2; ++split) {
    std::int64_t documents = 0;
    for (const Shard& shard : impl->index.splits[split].shards) {
      const std::filesystem::path path = directory / shard.file;
      TNL_ASSIGN(ShardReader reader, ShardReader::open(path));
      TNL_TRY(check_shard(path, shard, impl->index.vocab_size, reader));
      impl->shards[split].push_back(std::move(reader));
      impl->first_documents[split].push_back(documents);
      documents += shard.documents;
    }
  }
  return Dataset(std::move(impl));
}

Result<Dataset::Impl::Place> Dataset::Impl::find(Split split, std::int64_t document) const {
  const auto& firsts = first_documents[number(split)];
  const auto after = std::upper_bound(firsts.begin(), firsts.end(), document);
  const auto shard = static_cast<std::size_t>(after - firsts.begin()) - 1;
  const ShardReader& reader = shards[number(split)][shard];
  TNL_ASSIGN(const ShardReader::Range range, reader.document(document - firsts[shard]));
  return Place{&reader, range};
}

std::int64_t Dataset::vocab_size() const {
  return impl_->index.vocab_size;
}
std::int64_t Dataset::tokens(Split split) const {
  return impl_->index.splits[number(split)].tokens;
}
std::int64_t Dataset::documents(Split split) const {
  return impl_->index.splits[number(split)].documents;
}
std::int64_t Dataset::bytes(Split split) const {
  return impl_->index.splits[number(split)].bytes;
}
std::filesystem::path Dataset::tokenizer() const {
  return impl_->directory / kTokenizerFolder;
}
std::string Dataset::tokenizer_kind() const {
  return impl_->index.tokenizer_kind;
}
const std::vector<Dataset::Shard>& Dataset::shards(Split split) const {
  return impl_->index.splits[number(split)].shards;
}

std::string Dataset::fingerprint() const {
  std::uint64_t sum = kChecksumStart;
  const auto add = [&sum](std::uint64_t word) { sum = checksum(sum, &word, sizeof word); };
  add(static_cast<std::uint64_t>(vocab_size()));
  for (const SplitIndex& split : impl_->index.splits) {
    add(split.shards.size());
    for (const Shard& shard : split.shards) {
      add(static_cast<std::uint64_t>(shard.tokens));
      add(static_cast<std::uint64_t>(shard.documents));
      add(shard.checksum);
    }
  }
  return fmt::format("{:016x}", mix64(sum));
}

Result<std::vector<std::int32_t>> Dataset::document(Split split, std::int64_t index) const {
  if (index < 0 || index >= documents(split)) {
    return invalid_argument(fmt::format("document {} of the {} split of {}, which has {}", index,
                                        kSplitNames[number(split)], impl_->directory.string(),
                                        documents(split)));
  }
  TNL_ASSIGN(const Impl::Place place, impl_->find(split, index));
  std::vector<std::int32_t> ids;
  TNL_TRY(place.shard->read(place.tokens.begin, place.tokens.end, ids));
  return ids;
}

Status Dataset::verify() const {
  for (const auto& shards : impl_->shards) {
    for (const ShardReader& shard : shards) TNL_TRY(shard.verify());
  }
  return {};
}

}  // namespace tnl
