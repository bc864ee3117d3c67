// Conversions, scaled copies and the gated product. Floors in bf16, bytes an element: product 6,
// backward 10, or 12 where the product is written again.
#include "backend/cuda/ops/elementwise.cuh"

#include "backend/cuda/ops/ops.h"

namespace tnl::cuda {
namespace {

template <class From, class To, int kCount>
struct Convert {
  View<From> from;
  View<To> to;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const auto in = Vector<From, kCount>::load(from.row(row) + column);
    Vector<To, kCount> out;
#pragma unroll
    for (int i = 0; i < kCount; ++i) out.set(i, in[i]);
    out.store(to.row(row) + column);
  }
};

template <class T>
struct Scale {
  View<T> x;
  float factor;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    T& value = x.row(row)[column];
    from_float(factor == 0.f ? 0.f : to_float(value) * factor, value);
  }
};

template <class T, int kCount>
struct Product {
  View<T> a, b, y;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const auto left = Vector<T, kCount>::load(a.row(row) + column);
    const auto right = Vector<T, kCount>::load(b.row(row) + column);
    Vector<T, kCount> out;
#pragma unroll
    for (int i = 0; i < kCount; ++i) out.set(i, left[i] * right[i]);
    out.store(y.row(row) + column);
  }
};

template <class T, int kCount>
struct ProductBackward {
  View<T> a, b, dy, da, db, y;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const auto left = Vector<T, kCount>::load(a.row(row) + column);
    const auto right = Vector<T, kCount>::load(b.row(row) + column);
    const auto slope = Vector<T, kCount>::load(dy.row(row) + column);
    Vector<T, kCount> d_left, d_right, out;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      d_left.set(i, slope[i] * right[i]);
      d_right.set(i, slope[i] * left[i]);
      out.set(i, left[i] * right[i]);
    }
    d_left.store(da.row(row) + column);
    d_right.store(db.row(row) + column);
    if (y.data != nullptr) out.store(y.row(row) + column);
  }
};

template <class T, class... Matrices>
bool wide(const Matrices&... matrices) {
  return (has_vectors(matrices, kVector<T>) && ...);
}

}  // namespace

Status convert(const Matrix& from, const Matrix& to, cudaStream_t stream) {
  TNL_CHECK(from.rows == to.rows && from.cols == to.cols);
  return with_stored_type(from.dtype, [&](auto from_type) {
    return with_stored_type(to.dtype, [&](auto to_type) {
      using From = decltype(from_type);
      using To = decltype(to_type);
      constexpr int kWide = kVector<From> < kVector<To> ? kVector<From> : kVector<To>;
      const bool vectors = has_vectors(from, kWide) && has_vectors(to, kWide);
      return with_vectors<kWide>(vectors, [&](auto count) {
        return launch_elementwise<count()>(
            to.rows, to.cols, Convert<From, To, count()>{view<From>(from), view<To>(to)}, "copy",
            stream);
      });
    });
  });
}

Status scale(double factor, const Matrix& x, cudaStream_t stream) {
  return with_stored_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    return launch_elementwise<1>(x.rows, x.cols, Scale<T>{view<T>(x), static_cast<float>(factor)},
                                 "scale", stream);
  });
}

Status product(const Matrix& a, const Matrix& b, const Matrix& y, cudaStream_t stream) {
  TNL_CHECK(a.rows == y.rows && a.cols == y.cols && b.rows == y.rows && b.cols == y.cols);
  return with_activation_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    return with_vectors<kVector<T>>(wide<T>(a, b, y), [&](auto count) {
      return launch_elementwise<count()>(y.rows, y.cols,
                                         Product<T, count()>{view<T>(a), view<T>(b), view<T>(y)},
                                         "product", stream);
    });
  });
}

Status product_backward(const Matrix& a, const Matrix& b, const Matrix& dy, const Matrix& da,
                        const Matrix& db, const Matrix& y, cudaStream_t stream) {
  TNL_CHECK(a.rows == dy.rows && a.cols == dy.cols && b.rows == dy.rows && b.cols == dy.cols);
  TNL_CHECK(da.rows == dy.rows && da.cols == dy.cols && db.rows == dy.rows && db.cols == dy.cols);
  return with_activation_type(dy.dtype, [&](auto type) {
    using T = decltype(type);
    return with_vectors<kVector<T>>(wide<T>(a, b, dy, da, db, y), [&](auto count) {
      return launch_elementwise<count()>(
          dy.rows, dy.cols,
          ProductBackward<T, count()>{view<T>(a), view<T>(b), view<T>(dy), view<T>(da), view<T>(db),
                                      view<T>(y)},
          "product_backward", stream);
    });
  });
}

}  // namespace tnl::cuda
