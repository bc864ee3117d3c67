// The algorithms of matrix products that a checkpoint keeps.
#include "backend/cuda/matmul_choices.h"

#include "fuzz/support.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view text) {
  const AllocationLimit limit(text.size());
  const auto choices = cuda::read_choices(text);
  if (!choices.ok()) return check_sentence(choices.status());
  const auto again = cuda::read_choices(cuda::write_choices(*choices));
  FUZZ_CHECK(again.ok() && again->version == choices->version &&
             again->algorithms == choices->algorithms);
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
