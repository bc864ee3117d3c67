// Which algorithm of cuBLASLt each matrix product was given, as text that a checkpoint can keep:
// the heuristic may choose otherwise another time, and then the bits are others.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "tnl/status.h"

namespace tnl::cuda {

// What an algorithm is chosen by.
struct MatmulKey {
  std::int64_t form = 0;                                  // MatmulForm
  std::int64_t rows = 0, cols = 0, depth = 0;             // of c; of the sum
  std::int64_t stride_a = 0, stride_b = 0, stride_c = 0;  // elements from row to row
  std::int64_t dtype = 0, dtype_c = 0;                    // DType of a and b, and of c
  std::int64_t align_a = 0, align_b = 0, align_c = 0;     // bytes
  std::int64_t reads_c = 0;                               // 0 or 1

  auto operator<=>(const MatmulKey&) const = default;
};

// cublasLtMatmulAlgo_t, which is plain data for the same version of the library.
using MatmulAlgorithm = std::array<std::uint64_t, 8>;

struct MatmulChoices {
  std::int64_t version = 0;  // of cuBLASLt
  std::map<MatmulKey, MatmulAlgorithm> algorithms;
};

// A line for the version, then one for each product.
std::string write_choices(const MatmulChoices& choices);
// An error names the line.
Result<MatmulChoices> read_choices(std::string_view text);

}  // namespace tnl::cuda
