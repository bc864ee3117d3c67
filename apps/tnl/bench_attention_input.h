// What the measurements of the attention operator run on: shapes, lengths, decays, storage types.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tnl/tensor.h"

namespace tnl::command {

struct AttentionShape {
  std::int64_t batch = 0, tokens = 0, heads = 0, key_dim = 0, value_dim = 0;
  std::vector<std::int64_t> cu_seqlens;  // packed if not empty

  std::int64_t rows() const {
    return (cu_seqlens.empty() ? batch * tokens : cu_seqlens.back()) * heads;
  }
  std::int64_t sequences() const {
    return cu_seqlens.empty() ? batch : static_cast<std::int64_t>(cu_seqlens.size()) - 1;
  }
};

// What the flags say; a mistake throws Exit. varlen: empty, "drawn" or a list of lengths.
AttentionShape parse_attention_shape(const std::string& shape, const std::string& varlen);
// "first", "half", "zero" or numbers.
std::vector<float> attention_decays(const std::string& slopes, std::int64_t heads);
DType parse_attention_dtype(const std::string& name);

}  // namespace tnl::command
