// tnl_tokenizer.json, the file of the tokenizer of bytes.
#include "text/byte_tokenizer.h"

#include "fuzz/tokenizer.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  const fs::path file = workplace().write("tnl_tokenizer.json", input);
  const AllocationLimit limit(input.size());
  const auto tokenizer = load_byte_tokenizer(file);
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
