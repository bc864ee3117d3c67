// What tells two models apart: configuration, storage and every parameter.
#include <bit>
#include <cstring>
#include <string_view>

#include "backend/host_copy.h"
#include "core/checksum.h"
#include "core/try.h"
#include "model/model_impl.h"

namespace tnl {
namespace {

class Fingerprint {
 public:
  void add(std::int64_t word) { sum_ = checksum(sum_, &word, sizeof word); }
  void add(double number) { add(std::bit_cast<std::int64_t>(number)); }
  void add(std::string_view text) { add_bytes(text.data(), text.size()); }

  // With their number, so that pieces cannot run into each other.
  void add_bytes(const void* data, std::size_t bytes) {
    add(static_cast<std::int64_t>(bytes));
    const std::size_t whole = bytes / 8 * 8;
    sum_ = checksum(sum_, data, whole);
    char rest[8] = {};
    std::memcpy(rest, static_cast<const char*>(data) + whole, bytes - whole);
    sum_ = checksum(sum_, rest, sizeof rest);
  }

  std::uint64_t value() const { return mix64(sum_); }

 private:
  std::uint64_t sum_ = kChecksumStart;
};

}  // namespace

Result<std::uint64_t> Model::fingerprint() const {
  const ModelConfig& c = config();
  Fingerprint print;
  for (const std::int64_t word :
       {static_cast<std::int64_t>(c.generation), c.vocab_size, c.width, c.layers, c.heads, c.hidden,
        c.glu, c.gate, static_cast<std::int64_t>(c.silu),
        static_cast<std::int64_t>(c.scale_embedding), static_cast<std::int64_t>(c.tie_embeddings),
        static_cast<std::int64_t>(c.slopes)}) {
    print.add(word);
  }
  for (const std::uint8_t lrpe : c.lrpe) print.add(std::int64_t{lrpe});
  print.add(c.norm_eps);
  print.add(c.attention_scale);
  for (const NamedTensor& parameter : parameters()) {
    const TensorView& view = parameter.view;
    print.add(std::string_view(parameter.name));
    print.add(dtype_name(view.dtype));
    const auto bytes = static_cast<std::size_t>(view.elements() * dtype_size(view.dtype));
    TNL_ASSIGN(const HostCopy host, HostCopy::download(device().backend(), view.data, bytes));
    print.add_bytes(host.data(), bytes);
  }
  return print.value();
}

}  // namespace tnl
