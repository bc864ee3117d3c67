// GPT-2's vocab.json and merges.txt, with a NUL byte between them.
#include "fuzz/tokenizer.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  const std::size_t bytes = input.size();
  fs::create_directories(workplace().path("gpt2"));
  workplace().write("gpt2/vocab.json", take_part(input));
  workplace().write("gpt2/merges.txt", input);
  const AllocationLimit limit(bytes, std::size_t{1} << 24);  // its cache of words
  const auto tokenizer = load_tokenizer(workplace().path("gpt2"));
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
