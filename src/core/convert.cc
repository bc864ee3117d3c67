#include "core/convert.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/check.h"
#include "core/float16.h"

namespace tnl {
namespace {

double widen(double x) {
  return x;
}
double widen(float x) {
  return x;
}
double widen(BF16 x) {
  return to_float(x);
}
double widen(F16 x) {
  return to_float(x);
}

void narrow(double x, double& out) {
  out = x;
}
void narrow(double x, float& out) {
  out = static_cast<float>(x);
}
// From f64 through f32: twice rounded, which no reader of 16-bit weights can tell.
void narrow(double x, BF16& out) {
  out = to_bf16(static_cast<float>(x));
}
void narrow(double x, F16& out) {
  out = to_f16(static_cast<float>(x));
}

template <class Source, class Target>
void convert_all(const void* source, void* target, std::int64_t count) {
  const char* in = static_cast<const char*>(source);
  char* out = static_cast<char*>(target);
  for (std::int64_t i = 0; i < count; ++i) {
    Source value;
    std::memcpy(&value, in + i * static_cast<std::int64_t>(sizeof(Source)), sizeof(Source));
    Target result;
    if constexpr (std::is_same_v<Source, BF16> && std::is_same_v<Target, float>) {
      result = to_float(value);  // exact, and vectorised: every token's logits come this way
    } else {
      narrow(widen(value), result);
    }
    std::memcpy(out + i * static_cast<std::int64_t>(sizeof(Target)), &result, sizeof(Target));
  }
}

template <class Source>
void convert_from(const void* source, void* target, DType target_dtype, std::int64_t count) {
  switch (target_dtype) {
    case DType::kF64:
      return convert_all<Source, double>(source, target, count);
    case DType::kF32:
      return convert_all<Source, float>(source, target, count);
    case DType::kBF16:
      return convert_all<Source, BF16>(source, target, count);
    case DType::kF16:
      return convert_all<Source, F16>(source, target, count);
    default:
      TNL_CHECK(false);
  }
}

// `exponent`: the bits that are all set in what is not finite, of the type as an integer.
template <class Bits>
std::int64_t first_with(const void* data, Bits exponent, std::int64_t count) {
  constexpr std::int64_t kBlock = 1024;  // counted without a branch, so that it is vectorised
  const char* in = static_cast<const char*>(data);
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, count);
    int found = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      Bits bits;
      std::memcpy(&bits, in + i * static_cast<std::int64_t>(sizeof(Bits)), sizeof(Bits));
      found |= (bits & exponent) == exponent ? 1 : 0;
    }
    for (std::int64_t i = begin; found != 0 && i < end; ++i) {
      Bits bits;
      std::memcpy(&bits, in + i * static_cast<std::int64_t>(sizeof(Bits)), sizeof(Bits));
      if ((bits & exponent) == exponent) return i;
    }
  }
  return -1;
}

}  // namespace

std::int64_t first_not_finite(const void* data, DType dtype, std::int64_t count) {
  switch (dtype) {
    case DType::kF64:
      return first_with(data, std::uint64_t{0x7ff0000000000000u}, count);
    case DType::kF32:
      return first_with(data, std::uint32_t{0x7f800000u}, count);
    case DType::kBF16:
      return first_with(data, std::uint16_t{0x7f80u}, count);
    case DType::kF16:
      return first_with(data, std::uint16_t{0x7c00u}, count);
    default:
      TNL_CHECK(false);
  }
}

bool is_floating(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 ||
         dtype == DType::kF16;
}

void convert(const void* source, DType source_dtype, void* target, DType target_dtype,
             std::int64_t count) {
  if (source_dtype == target_dtype) {
    if (count > 0)
      std::memcpy(target, source, static_cast<std::size_t>(count * dtype_size(source_dtype)));
    return;
  }
  switch (source_dtype) {
    case DType::kF64:
      return convert_from<double>(source, target, target_dtype, count);
    case DType::kF32:
      return convert_from<float>(source, target, target_dtype, count);
    case DType::kBF16:
      return convert_from<BF16>(source, target, target_dtype, count);
    case DType::kF16:
      return convert_from<F16>(source, target, target_dtype, count);
    default:
      TNL_CHECK(false);
  }
}

}  // namespace tnl
