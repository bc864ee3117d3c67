// Up to 16 bytes of a row at a time, and the choice of how many elements that is.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/tile/scalar.cuh"
#include "core/check.h"

namespace tnl::cuda {

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T values[kCount];

  static __device__ __forceinline__ Vector load(const T* from) {
    return *reinterpret_cast<const Vector*>(from);
  }
  __device__ __forceinline__ void store(T* to) const { *reinterpret_cast<Vector*>(to) = *this; }
  __device__ __forceinline__ float operator[](int i) const { return to_float(values[i]); }
  __device__ __forceinline__ void set(int i, float x) { from_float(x, values[i]); }
  // Zeros where the pointer may not be read.
  static __device__ __forceinline__ Vector zero() {
    Vector x;
#pragma unroll
    for (int i = 0; i < kCount; ++i) x.set(i, 0.f);
    return x;
  }
};

// A matrix on the device: element (r, c) at data[r * stride + c]. No data: not given.
template <class T>
struct View {
  T* data = nullptr;
  std::int64_t stride = 0;

  __device__ __forceinline__ T* row(std::int64_t r) const { return data + r * stride; }
};

template <class T>
inline constexpr DType kDTypeOf = DType::kF32;
template <>
inline constexpr DType kDTypeOf<__nv_bfloat16> = DType::kBF16;
template <>
inline constexpr DType kDTypeOf<__half> = DType::kF16;

template <class T>
View<T> view(const Matrix& matrix) {
  if (!matrix.given()) return {};
  TNL_CHECK(matrix.dtype == kDTypeOf<T>);
  return {static_cast<T*>(matrix.data), matrix.row_stride};
}

// Elements in 16 bytes.
template <class T>
inline constexpr int kVector = static_cast<int>(16 / sizeof(T));

// Every row of `matrix` is a whole number of vectors of `count` elements, each aligned.
inline bool has_vectors(const Matrix& matrix, std::int64_t count) {
  if (!matrix.given()) return true;
  const std::int64_t bytes = count * dtype_size(matrix.dtype);
  return matrix.cols % count == 0 && matrix.row_stride % count == 0 &&
         reinterpret_cast<std::uintptr_t>(matrix.data) % static_cast<std::uintptr_t>(bytes) == 0;
}

// The dtype of activations: `body(T())` with T = float or __nv_bfloat16.
template <class Body>
auto with_activation_type(DType dtype, const Body& body) {
  TNL_CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  return dtype == DType::kF32 ? body(float()) : body(__nv_bfloat16());
}

// The dtype of stored parameters, f16 too.
template <class Body>
auto with_stored_type(DType dtype, const Body& body) {
  TNL_CHECK(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16);
  if (dtype == DType::kF16) return body(__half());
  return dtype == DType::kF32 ? body(float()) : body(__nv_bfloat16());
}

}  // namespace tnl::cuda
