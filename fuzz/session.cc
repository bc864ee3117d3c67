// A saved session. The file is long and mostly numbers, so the input says how it differs from one
// that was saved: three bytes an edit, place (two bytes) and value; then, in one byte, whether the
// checksum is made right again and the end cut off.
#include <cstring>

#include "core/checksum.h"
#include "fuzz/support.h"
#include "tnl/session.h"

namespace tnl::fuzz {
namespace {

struct Saved {
  Model model = make();
  std::shared_ptr<const Tokenizer> tokenizer = std::move(load_tokenizer("bytes")).value();
  std::string file;

  Saved() {
    auto session = std::move(Session::create(model)).value();
    std::vector<std::int32_t> ids;
    FUZZ_CHECK(tokenizer->encode("some text", ids).ok() && session.feed(ids).ok());
    GenerateState state;
    state.begun = state.in_text = true;
    state.held = "hel";
    state.partial = "\xc3";
    FUZZ_CHECK(session.save(workplace().path("good"), state).ok());
    file = workplace().read("good");
  }
  static Model make() {
    ModelConfig config;
    config.vocab_size = 258;
    config.width = config.hidden = config.glu = 4;
    config.layers = config.heads = 1;
    config.lrpe = {1};
    const auto device = Device::open("cpu", {.threads = 1, .cpu_target = "generic"});
    FUZZ_CHECK(device.ok());
    return std::move(Model::create(config, *device, 1)).value();
  }
};

std::string edited(std::string file, std::string_view input) {
  const unsigned last = input.empty() ? 1 : static_cast<unsigned char>(input.back());
  for (; input.size() > 3; input.remove_prefix(3)) {
    const std::size_t at = static_cast<unsigned char>(input[0]) |
                           std::size_t{static_cast<unsigned char>(input[1])} << 8;
    file[at % file.size()] = input[2];
  }
  if ((last & 1) != 0) {
    const std::uint64_t sum = checksum(kChecksumStart, file.data(), file.size() - 8);
    std::memcpy(file.data() + file.size() - 8, &sum, 8);
  }
  if ((last & 2) != 0) file.resize(file.size() * (last >> 2) / 64);
  return file;
}

void read(std::string_view input) {
  static Saved saved;
  const std::string file = edited(saved.file, input);
  const AllocationLimit limit(file.size(), std::size_t{1} << 22);  // the session's own memory
  GenerateState state;
  auto session = Session::load(saved.model, workplace().write("a", file), &state);
  if (!session.ok()) return check_sentence(session.status());
  // What loads can be saved, and that is loaded as the same.
  FUZZ_CHECK(session->save(workplace().path("b"), state).ok());
  const std::string copy = workplace().read("b");
  GenerateState other;
  const auto again = Session::load(saved.model, workplace().path("b"), &other);
  FUZZ_CHECK(again.ok() && again->save(workplace().path("c"), other).ok());
  FUZZ_CHECK(workplace().read("c") == copy);
  // And goes on, or says why not.
  GenerateOptions options;
  options.max_tokens = 3;
  const auto result = generate(
      *session, *saved.tokenizer, options, [](std::string_view) { return true; }, &state);
  if (!result.ok()) check_sentence(result.status());
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
