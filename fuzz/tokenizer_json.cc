// Hugging Face's tokenizer.json, and, behind a NUL byte, tokenizer_config.json.
#include "text/tokenizer_json.h"

#include "fuzz/tokenizer.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  const std::size_t bytes = input.size();
  fs::create_directories(workplace().path("json"));
  const fs::path file = workplace().write("json/tokenizer.json", take_part(input));
  workplace().write("json/tokenizer_config.json", input.empty() ? std::string_view("{}") : input);
  const AllocationLimit limit(bytes, std::size_t{1} << 24);  // its cache of words
  auto vocabulary = load_tokenizer_json(file);
  if (!vocabulary.ok()) return check_sentence(vocabulary.status());
  const bool lossless = !vocabulary->compose && !vocabulary->prefix_space;
  const auto tokenizer = make_byte_level_bpe(std::move(vocabulary).value());
  use(*tokenizer, lossless);
  save_and_load(*tokenizer, workplace().path("saved"));
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
