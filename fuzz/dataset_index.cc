// index.json of a data set.
#include "text/dataset_index.h"

#include "fuzz/support.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  const fs::path file = workplace().write("index.json", input);
  const AllocationLimit limit(input.size());
  const auto index = DatasetIndex::read(file);
  if (!index.ok()) return check_sentence(index.status());
  for (const SplitIndex& split : index->splits) {
    for (const Dataset::Shard& shard : split.shards) {
      FUZZ_CHECK(fs::path(shard.file).filename() == shard.file && shard.file != "..");
    }
  }
  const std::string written = index->to_json();
  const auto again = DatasetIndex::read(workplace().write("index.json", written));
  FUZZ_CHECK(again.ok() && again->to_json() == written);
  const auto dataset = Dataset::open(workplace().path(""));  // no shard is there
  if (!dataset.ok()) check_sentence(dataset.status());
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
