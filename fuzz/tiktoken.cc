// A tiktoken rank file, and, behind a NUL byte, tiktoken_config.json.
#include "fuzz/tokenizer.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  const std::size_t bytes = input.size();
  fs::create_directories(workplace().path("ranks"));
  workplace().write("ranks/a.tiktoken", take_part(input));
  workplace().write("ranks/tiktoken_config.json", input);
  const AllocationLimit limit(bytes, std::size_t{1} << 24);  // its cache of words
  const auto tokenizer = load_tokenizer(workplace().path("ranks"));
  if (!tokenizer.ok()) return check_sentence(tokenizer.status());
  use(**tokenizer, true);
  save_and_load(**tokenizer, workplace().path("saved"));
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
