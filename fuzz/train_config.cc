// Settings of a run: run.json, --settings.
#include "fuzz/support.h"
#include "tnl/train.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  const fs::path file = workplace().write("run.json", input);
  const AllocationLimit limit(input.size());
  const Result<TrainConfig> config = read_train_config(file);
  if (!config.ok()) return check_sentence(config.status());
  if (const Status status = validate(*config); !status.ok()) check_sentence(status);
  const std::string written = train_config_json(*config);
  const Result<TrainConfig> again = read_train_config(workplace().write("run.json", written));
  FUZZ_CHECK(again.ok() && train_config_json(*again) == written);
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
