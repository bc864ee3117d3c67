// One file of packed tokens: alone, and as the only shard of a data set whose index agrees with its
// header, so that the loader meets damage behind the header.
#include "text/shard.h"

#include <algorithm>

#include "fuzz/support.h"
#include "text/dataset.h"
#include "text/dataset_index.h"

namespace tnl::fuzz {
namespace {

// A shard whose content is right is what the writer writes.
void rewrite(const ShardReader& shard, std::string_view input) {
  const auto vocab_size = static_cast<std::int64_t>(shard.header().vocab_size);
  auto writer = ShardWriter::create(workplace().path("copy.bin"), vocab_size);
  FUZZ_CHECK(writer.ok());
  for (std::int64_t i = 0; i < shard.documents(); ++i) {
    std::vector<std::int32_t> ids;
    const auto range = shard.document(i);
    FUZZ_CHECK(range.ok() && shard.read(range->begin, range->end, ids).ok());
    FUZZ_CHECK(writer->append(ids).ok());
    writer->end_document();
  }
  FUZZ_CHECK(writer->finish().ok());
  if (shard.header().token_bytes != (vocab_size <= 65536 ? 2u : 4u)) return;
  const auto body = shard.tokens() * shard.header().token_bytes;
  const std::string copy = workplace().read("copy.bin");
  FUZZ_CHECK(copy.size() == input.size());
  FUZZ_CHECK(copy.substr(64, body) == input.substr(64, body));
}

void load(const ShardReader& shard) {
  DatasetIndex index;
  index.tokenizer_kind = "bytes";
  index.vocab_size = static_cast<std::int64_t>(shard.header().vocab_size);
  index.splits[0] = {
      shard.tokens(),
      shard.documents(),
      0,
      {{"a.bin", shard.tokens(), shard.documents(), shard.file_bytes(), shard.header().checksum}}};
  workplace().write(kIndexFile, index.to_json());
  const auto dataset = Dataset::open(workplace().path(""));
  if (!dataset.ok()) return check_sentence(dataset.status());
  auto loader = DataLoader::create(
      *dataset, {.sequence_length = 3, .batch_tokens = 7, .seed = 1, .once = true});
  if (!loader.ok()) return check_sentence(loader.status());
  std::int64_t tokens = 0;
  for (DataBatch batch;;) {
    const auto more = loader->next(batch);
    if (!more.ok()) return check_sentence(more.status());
    if (!*more) break;
    tokens += static_cast<std::int64_t>(batch.tokens.size());
    FUZZ_CHECK(batch.targets.size() == batch.tokens.size() && tokens <= shard.tokens());
  }
  FUZZ_CHECK(tokens == shard.tokens());
}

void read(std::string_view input) {
  const fs::path file = workplace().write("a.bin", input);
  const AllocationLimit limit(input.size());
  const auto shard = ShardReader::open(file);
  if (!shard.ok()) return check_sentence(shard.status());
  if (const Status status = shard->verify(); !status.ok()) {
    check_sentence(status);
  } else {
    rewrite(*shard, input);
  }
  load(*shard);
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
