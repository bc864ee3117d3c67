// Element-wise conversion between floating-point types, rounding to nearest even.
#pragma once

#include <cstdint>

#include "tnl/tensor.h"

namespace tnl {

// True for f64, f32, bf16 and f16.
bool is_floating(DType dtype);

// Converts `count` elements; both types floating. Source and target need no alignment and do not
// overlap.
void convert(const void* source, DType source_dtype, void* target, DType target_dtype,
             std::int64_t count);

// The index of the first element that is NaN or infinite; -1: all are finite. A floating type, no
// alignment.
std::int64_t first_not_finite(const void* data, DType dtype, std::int64_t count);

}  // namespace tnl
