// A safetensors file.
#include "model/safetensors.h"
#include "fuzz/support.h"

namespace tnl::fuzz {
namespace {

void touch(const SafetensorsEntry& entry) {
  const std::int64_t bytes = entry.elements * dtype_size(entry.dtype);
  volatile unsigned sum = 0;
  for (std::int64_t i = 0; i < bytes; ++i) sum = sum + static_cast<unsigned>(entry.data[i]);
}

bool same(const SafetensorsEntry& a, const SafetensorsEntry& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape &&
         std::string_view(reinterpret_cast<const char*>(a.data),
                          static_cast<std::size_t>(a.elements * dtype_size(a.dtype))) ==
             std::string_view(reinterpret_cast<const char*>(b.data),
                              static_cast<std::size_t>(b.elements * dtype_size(b.dtype)));
}

void read(std::string_view input) {
  const fs::path file = workplace().write("a.safetensors", input);
  const AllocationLimit limit(input.size());
  const Result<SafetensorsFile> opened = SafetensorsFile::open(file);
  if (!opened.ok()) return check_sentence(opened.status());
  std::vector<SafetensorsWrite> tensors;
  for (const SafetensorsEntry& entry : opened->entries()) {
    touch(entry);
    FUZZ_CHECK(entry.shape.size() <= TensorView::kMaxRank);
    if (entry.shape.empty()) continue;  // no view has rank 0
    TensorView view = TensorView::contiguous(const_cast<std::byte*>(entry.data), entry.dtype, {});
    view.rank = static_cast<int>(entry.shape.size());
    for (int i = 0; i < view.rank; ++i) view.shape[i] = entry.shape[i];
    tensors.push_back({entry.name, entry.dtype, view});
  }
  const fs::path copy = workplace().path("b.safetensors");
  const Status written = write_safetensors(copy, tensors, opened->metadata());
  FUZZ_CHECK(written.ok());
  const Result<SafetensorsFile> again = SafetensorsFile::open(copy);
  FUZZ_CHECK(again.ok() && again->metadata() == opened->metadata());
  FUZZ_CHECK(again->entries().size() == tensors.size());
  for (const SafetensorsEntry& entry : opened->entries()) {
    if (entry.shape.empty()) continue;
    const SafetensorsEntry* other = again->find(entry.name);
    FUZZ_CHECK(other != nullptr && same(entry, *other));
  }
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
