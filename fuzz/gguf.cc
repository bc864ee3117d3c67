// A GGUF file's vocabulary, which becomes a SentencePiece model. The model is then the library's to
// read, with tables of its own.
#include "text/gguf.h"

#include "fuzz/tokenizer.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  {
    const AllocationLimit limit(input.size());
    const auto metadata = GgufMetadata::parse(input);
    if (!metadata.ok()) check_sentence(metadata.status());
  }
  const fs::path file = workplace().write("a.gguf", input);
  const fs::path model = workplace().path("a.model");
  const AllocationLimit limit(input.size(), std::size_t{1} << 24);
  const Status converted = convert_gguf_vocabulary(file, model);
  if (!converted.ok()) return check_sentence(converted);
  const auto tokenizer = load_tokenizer(model);
  if (!tokenizer.ok()) return check_sentence(tokenizer.status());
  use(**tokenizer, false);
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
