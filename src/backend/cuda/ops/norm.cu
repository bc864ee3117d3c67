// SimpleRMSNorm, alone and as the norm under the token mixer's gate (docs/math.md). Floors, bytes
// an element in bf16: srmsnorm 4, backward 6 (8 where it accumulates), norm_gate 6, backward 10;
// two more where the forward's result is written again.
#include "backend/cuda/ops/activation.cuh"
#include "backend/cuda/ops/ops.h"
#include "backend/cuda/ops/row.cuh"

namespace tnl::cuda {
namespace {

template <class Shape, class Input>
__device__ __forceinline__ float inverse_rms(const RowGroup<Shape>& group, const Input& x,
                                             std::int64_t cols, float eps) {
  float squares = 0.f;
  group.each(cols, [&](int item, std::int64_t column) {
    const auto values = x.get(item, column);
#pragma unroll
    for (int i = 0; i < Shape::kCount; ++i) squares = fmaf(values[i], values[i], squares);
  });
  return 1.f / sqrtf(group.sum(squares) / static_cast<float>(cols) + eps);
}

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    srmsnorm_kernel(View<T> x, View<T> y, std::int64_t rows, std::int64_t cols, float eps) {
  const RowGroup<Shape> group;
  if (group.row >= rows) return;
  const RowInput<T, Shape> in(group, x.row(group.row), cols);
  const float r = inverse_rms(group, in, cols, eps);
  group.each(cols, [&](int item, std::int64_t column) {
    const auto values = in.get(item, column);
    Vector<T, Shape::kCount> out;
#pragma unroll
    for (int i = 0; i < Shape::kCount; ++i) out.set(i, values[i] * r);
    out.store(y.row(group.row) + column);
  });
}

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    srmsnorm_backward_kernel(View<T> x, View<T> dy, View<T> dx, View<T> y, std::int64_t rows,
                             std::int64_t cols, float eps, bool accumulate) {
  const RowGroup<Shape> group;
  if (group.row >= rows) return;
  const RowInput<T, Shape> in(group, x.row(group.row), cols);
  const RowInput<T, Shape> slope(group, dy.row(group.row), cols);
  const float r = inverse_rms(group, in, cols, eps);
  float dot = 0.f;
  group.each(cols, [&](int item, std::int64_t column) {
    const auto values = in.get(item, column), slopes = slope.get(item, column);
#pragma unroll
    for (int i = 0; i < Shape::kCount; ++i) dot = fmaf(values[i], slopes[i], dot);
  });
  const float mean = r * group.sum(dot) / static_cast<float>(cols);
  group.each(cols, [&](int item, std::int64_t column) {
    const auto values = in.get(item, column), slopes = slope.get(item, column);
    auto* to = dx.row(group.row) + column;
    Vector<T, Shape::kCount> out, normed;
    if (accumulate) out = Vector<T, Shape::kCount>::load(to);
#pragma unroll
    for (int i = 0; i < Shape::kCount; ++i) {
      const float unit = values[i] * r;
      const float gradient = r * (slopes[i] - unit * mean);
      normed.set(i, unit);
      out.set(i, accumulate ? out[i] + gradient : gradient);
    }
    out.store(to);
    if (y.data != nullptr) normed.store(y.row(group.row) + column);
  });
}

template <bool kSigmoid>
__device__ __forceinline__ SigmoidPair gate_of(float u) {
  return kSigmoid ? sigmoid(u) : SigmoidPair{u, 0.f};
}

template <class T, class Shape, bool kSigmoid>
__global__ void __launch_bounds__(Shape::kThreads)
    norm_gate_kernel(View<T> o, View<T> u, View<T> y, std::int64_t rows, std::int64_t cols,
                     float eps) {
  const RowGroup<Shape> group;
  if (group.row >= rows) return;
  const RowInput<T, Shape> in(group, o.row(group.row), cols);
  const RowInput<T, Shape> gate(group, u.row(group.row), cols);
  const float r = inverse_rms(group, in, cols, eps);
  group.each(cols, [&](int item, std::int64_t column) {
    const auto values = in.get(item, column), gates = gate.get(item, column);
    Vector<T, Shape::kCount> out;
#pragma unroll
    for (int i = 0; i < Shape::kCount; ++i) {
      out.set(i, gate_of<kSigmoid>(gates[i]).value * (values[i] * r));
    }
    out.store(y.row(group.row) + column);
  });
}

template <class T>
struct GateViews {
  View<T> o, u, dy, d_o, d_u, y;
};

template <class T, class Shape, bool kSigmoid>
__global__ void __launch_bounds__(Shape::kThreads)
    norm_gate_backward_kernel(GateViews<T> m, std::int64_t rows, std::int64_t cols, float eps) {
  const RowGroup<Shape> group;
  if (group.row >= rows) return;
  const RowInput<T, Shape> in(group, m.o.row(group.row), cols);
  const RowInput<T, Shape> gate(group, m.u.row(group.row), cols);
  const RowInput<T, Shape> slope(group, m.dy.row(group.row), cols);
  const float r = inverse_rms(group, in, cols, eps);
  float dot = 0.f;
  group.each(cols, [&](int item, std::int64_t column) {
    const auto values = in.get(item, column), gates = gate.get(item, column);
    const auto slopes = slope.get(item, column);
#pragma unroll
    for (int i = 0; i < Shape::kCount; ++i) {
      dot = fmaf(values[i], slopes[i] * gate_of<kSigmoid>(gates[i]).value, dot);
    }
  });
  const float mean = r * group.sum(dot) / static_cast<float>(cols);
  group.each(cols, [&](int item, std::int64_t column) {
    const auto values = in.get(item, column), gates = gate.get(item, column);
    const auto slopes = slope.get(item, column);
    Vector<T, Shape::kCount> d_o, d_u, y;
#pragma unroll
    for (int i = 0; i < Shape::kCount; ++i) {
      const float unit = values[i] * r;
      const SigmoidPair pair = gate_of<kSigmoid>(gates[i]);
      const float d_gate = slopes[i] * unit;
      d_u.set(i, kSigmoid ? d_gate * (pair.value * pair.complement) : d_gate);
      d_o.set(i, r * (slopes[i] * pair.value - unit * mean));
      y.set(i, pair.value * unit);
    }
    d_o.store(m.d_o.row(group.row) + column);
    d_u.store(m.d_u.row(group.row) + column);
    if (m.y.data != nullptr) y.store(m.y.row(group.row) + column);
  });
}

bool same_shape(const Matrix& a, const Matrix& b) {
  return a.rows == b.rows && a.cols == b.cols && a.dtype == b.dtype;
}

template <class T>
bool wide(std::initializer_list<Matrix> matrices) {
  for (const Matrix& matrix : matrices) {
    if (!has_vectors(matrix, kVector<T>)) return false;
  }
  return true;
}

}  // namespace

Status srmsnorm(const Matrix& x, double eps, const Matrix& y, cudaStream_t stream) {
  TNL_CHECK(same_shape(x, y));
  if (x.rows == 0 || x.cols == 0) return {};
  return with_activation_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    return with_row_shape<T>(wide<T>({x, y}), x.cols, [&](auto shape) {
      using Shape = decltype(shape);
      srmsnorm_kernel<T, Shape><<<row_blocks<Shape>(x.rows), Shape::kThreads, 0, stream>>>(
          view<T>(x), view<T>(y), x.rows, x.cols, static_cast<float>(eps));
      return cuda_status(cudaGetLastError(), "srmsnorm");
    });
  });
}

Status srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                         const Matrix& dx, const Matrix& y, cudaStream_t stream) {
  TNL_CHECK(same_shape(x, dy) && same_shape(x, dx) && (!y.given() || same_shape(x, y)));
  if (x.rows == 0 || x.cols == 0) return {};
  return with_activation_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    return with_row_shape<T>(wide<T>({x, dy, dx, y}), x.cols, [&](auto shape) {
      using Shape = decltype(shape);
      srmsnorm_backward_kernel<T, Shape><<<row_blocks<Shape>(x.rows), Shape::kThreads, 0, stream>>>(
          view<T>(x), view<T>(dy), view<T>(dx), view<T>(y), x.rows, x.cols, static_cast<float>(eps),
          accumulate);
      return cuda_status(cudaGetLastError(), "srmsnorm_backward");
    });
  });
}

Status norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps, const Matrix& y,
                 cudaStream_t stream) {
  TNL_CHECK(same_shape(o, u) && same_shape(o, y));
  if (o.rows == 0 || o.cols == 0) return {};
  return with_activation_type(o.dtype, [&](auto type) {
    using T = decltype(type);
    return with_row_shape<T>(wide<T>({o, u, y}), o.cols, [&](auto shape) {
      using Shape = decltype(shape);
      const auto kernel = kind == GateKind::kSigmoid ? norm_gate_kernel<T, Shape, true>
                                                     : norm_gate_kernel<T, Shape, false>;
      kernel<<<row_blocks<Shape>(o.rows), Shape::kThreads, 0, stream>>>(
          view<T>(o), view<T>(u), view<T>(y), o.rows, o.cols, static_cast<float>(eps));
      return cuda_status(cudaGetLastError(), "norm_gate");
    });
  });
}

Status norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u, const Matrix& dy,
                          double eps, const Matrix& d_o, const Matrix& d_u, const Matrix& y,
                          cudaStream_t stream) {
  TNL_CHECK(same_shape(o, u) && same_shape(o, dy) && same_shape(o, d_o) && same_shape(o, d_u));
  if (o.rows == 0 || o.cols == 0) return {};
  return with_activation_type(o.dtype, [&](auto type) {
    using T = decltype(type);
    return with_row_shape<T>(wide<T>({o, u, dy, d_o, d_u, y}), o.cols, [&](auto shape) {
      using Shape = decltype(shape);
      const auto kernel = kind == GateKind::kSigmoid ? norm_gate_backward_kernel<T, Shape, true>
                                                     : norm_gate_backward_kernel<T, Shape, false>;
      kernel<<<row_blocks<Shape>(o.rows), Shape::kThreads, 0, stream>>>(
          {view<T>(o), view<T>(u), view<T>(dy), view<T>(d_o), view<T>(d_u), view<T>(y)}, o.rows,
          o.cols, static_cast<float>(eps));
      return cuda_status(cudaGetLastError(), "norm_gate_backward");
    });
  });
}

}  // namespace tnl::cuda
