// The fused projection's split with SiLU, LRPE and padding, and its gradient (docs/math.md).
// Floors in bf16, bytes an element of q | k | v: 4 forward, 6 backward.
#include "backend/cuda/ops/activation.cuh"
#include "backend/cuda/ops/elementwise.cuh"
#include "backend/cuda/ops/ops.h"
#include "backend/cuda/ops/rotation.cuh"
#include "core/try.h"

namespace tnl::cuda {
namespace {

template <class T>
struct SplitViews {
  View<T> projection, q, k, v, d_projection;  // the last in the backward pass alone
  const std::uint8_t* mask;
  const std::int64_t* positions;
  const void* theta;
  DType theta_dtype;
  std::int64_t width, head_dim;
  bool silu_qk, silu_v;
};

template <class T, int kCount, bool kBackward>
__device__ __forceinline__ void activate_vector(const T* y, bool silu_on, bool keep, T* x, T* dy) {
  const auto in = Vector<T, kCount>::load(y);
  auto out = Vector<T, kCount>::zero();
  if constexpr (kBackward) {
    if (keep) out = Vector<T, kCount>::load(x);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (keep && silu_on) out.set(i, out[i] * silu_slope(in[i]));
    }
    out.store(dy);
  } else {
    if (keep) out = in;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (keep && silu_on) out.set(i, silu(in[i]));
    }
    out.store(x);
  }
}

// Columns of q | k | v, or of v alone where LRPE does the rest.
template <class T, int kCount, bool kBackward>
struct Activate {
  SplitViews<T> m;
  std::int64_t first_column;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    column += first_column;
    const bool is_v = column >= 2 * m.width;
    const View<T> target = column < m.width ? m.q : is_v ? m.v : m.k;
    const bool keep = !is_v || m.mask == nullptr || m.mask[row] != 0;
    activate_vector<T, kCount, kBackward>(
        m.projection.row(row) + column, is_v ? m.silu_v : m.silu_qk, keep,
        target.row(row) + column % m.width, kBackward ? m.d_projection.row(row) + column : nullptr);
  }
};

// The sines and cosines of kCount columns at a position.
template <class T, int kCount>
struct Waves {
  SineCosine at[kCount];

  __device__ __forceinline__ Waves(const SplitViews<T>& m, std::int64_t position,
                                   std::int64_t column) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const double theta = stored_value(m.theta, m.theta_dtype, column + i);
      at[i] = sine_cosine(theta * static_cast<double>(position));
    }
  }
};

template <class T, int kCount>
struct Rotate {
  SplitViews<T> m;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const Waves<T, kCount> waves(m, m.positions[row], column);
    const std::int64_t to = rotated_column(column, m.head_dim);
    const T* y = m.projection.row(row) + column;
    rotate(y, waves, m.q.row(row) + to);
    rotate(y + m.width, waves, m.k.row(row) + to);
  }
  __device__ __forceinline__ void rotate(const T* y, const Waves<T, kCount>& waves, T* to) const {
    const auto in = Vector<T, kCount>::load(y);
    Vector<T, kCount> cosine, sine;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float x = m.silu_qk ? silu(in[i]) : in[i];
      cosine.set(i, x * waves.at[i].cosine);
      sine.set(i, x * waves.at[i].sine);
    }
    cosine.store(to);
    sine.store(to + m.head_dim);
  }
};

constexpr int kThetaTokens = 64;  // tokens whose part of d_theta is one sum
constexpr int kThetaRows = 4;     // such parts of a block

// Gradients of y_q and y_k, and partial[part, column], the sum over the part's tokens.
template <class T, int kCount>
__global__ void __launch_bounds__(kStripLanes* kThetaRows)
    rotate_backward_kernel(SplitViews<T> m, std::int64_t tokens, float* partial) {
  const std::int64_t column =
      (static_cast<std::int64_t>(blockIdx.y) * kStripLanes + threadIdx.x) * kCount;
  const std::int64_t part = static_cast<std::int64_t>(blockIdx.x) * kThetaRows + threadIdx.y;
  const std::int64_t first = part * kThetaTokens;
  if (column >= m.width || first >= tokens) return;
  const std::int64_t from = rotated_column(column, m.head_dim);
  float sums[kCount] = {};
  for (std::int64_t row = first; row < min(tokens, first + kThetaTokens); ++row) {
    const Waves<T, kCount> waves(m, m.positions[row], column);
    const float position = static_cast<float>(m.positions[row]);
    const auto back = [&](const View<T>& d_out, std::int64_t offset) {
      const auto in = Vector<T, kCount>::load(m.projection.row(row) + column + offset);
      const auto d_cosine = Vector<T, kCount>::load(d_out.row(row) + from);
      const auto d_sine = Vector<T, kCount>::load(d_out.row(row) + from + m.head_dim);
      Vector<T, kCount> dy;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const SineCosine wave = waves.at[i];
        const float dx = d_cosine[i] * wave.cosine + d_sine[i] * wave.sine;
        const float x = m.silu_qk ? silu(in[i]) : in[i];
        dy.set(i, m.silu_qk ? dx * silu_slope(in[i]) : dx);
        sums[i] += x * (d_sine[i] * wave.cosine - d_cosine[i] * wave.sine) * position;
      }
      dy.store(m.d_projection.row(row) + column + offset);
    };
    back(m.q, 0);
    back(m.k, m.width);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) partial[part * m.width + column + i] = sums[i];
}

__global__ void theta_sum_kernel(const float* partial, std::int64_t parts, std::int64_t width,
                                 float* d_theta) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= width) return;
  double sum = 0;
#pragma unroll 8
  for (std::int64_t part = 0; part < parts; ++part) sum += partial[part * width + column];
  d_theta[column] += static_cast<float>(sum);
}

template <class T>
SplitViews<T> views(const SplitArgs& args, const Matrix& d_projection) {
  return {.projection = view<T>(args.projection),
          .q = view<T>(args.q),
          .k = view<T>(args.k),
          .v = view<T>(args.v),
          .d_projection = view<T>(d_projection),
          .mask = args.mask.empty() ? nullptr : args.mask.data(),
          .positions = args.positions.data(),
          .theta = args.theta,
          .theta_dtype = args.theta_dtype,
          .width = args.heads * args.head_dim,
          .head_dim = args.head_dim,
          .silu_qk = args.silu_qk,
          .silu_v = args.silu_v};
}

void check(const SplitArgs& args) {
  const std::int64_t tokens = args.projection.rows, width = args.heads * args.head_dim;
  const std::int64_t keys = args.theta != nullptr ? 2 * width : width;
  TNL_CHECK(args.projection.cols >= 3 * width);
  TNL_CHECK(args.q.rows == tokens && args.q.cols == keys && args.k.rows == tokens &&
            args.k.cols == keys && args.v.rows == tokens && args.v.cols == width);
}

// Vectors never cross from one block of the projection, or from one head, into the next.
bool wide(const SplitArgs& args, const Matrix& d_projection, std::int64_t count) {
  const auto aligned = [&](const Matrix& matrix) {
    return !matrix.given() || (matrix.row_stride % count == 0 &&
                               reinterpret_cast<std::uintptr_t>(matrix.data) % 16 == 0);
  };
  return args.head_dim % count == 0 && aligned(args.projection) && aligned(args.q) &&
         aligned(args.k) && aligned(args.v) && aligned(d_projection);
}

// The columns of the projection that Activate has to do: [first, end). LRPE does q and k itself,
// and where v is the projection's own third block (or its gradient's) there is nothing to do for
// it.
struct Columns {
  std::int64_t first, count;
};

Columns columns_to_activate(const SplitArgs& args, const Matrix& projection) {
  const std::int64_t width = args.heads * args.head_dim;
  const bool in_place = args.v.data == projection.columns(2 * width, width).data;
  TNL_CHECK(!in_place || !args.silu_v);
  const std::int64_t first = args.theta != nullptr ? 2 * width : 0;
  const std::int64_t end = in_place && args.mask.empty() ? 2 * width : 3 * width;
  return {first, end - first};
}

std::int64_t theta_parts(std::int64_t tokens) {
  return (tokens + kThetaTokens - 1) / kThetaTokens;
}

}  // namespace

Status split(const SplitArgs& args, cudaStream_t stream) {
  check(args);
  const std::int64_t tokens = args.projection.rows, width = args.heads * args.head_dim;
  return with_activation_type(args.projection.dtype, [&](auto type) {
    using T = decltype(type);
    return with_vectors<kVector<T>>(wide(args, {}, kVector<T>), [&](auto count) -> Status {
      const SplitViews<T> m = views<T>(args, {});
      const Columns columns = columns_to_activate(args, args.projection);
      TNL_TRY(launch_elementwise<count()>(
          tokens, columns.count, Activate<T, count(), false>{m, columns.first}, "split", stream));
      if (args.theta == nullptr) return {};
      return launch_elementwise<count()>(tokens, width, Rotate<T, count()>{m}, "split with LRPE",
                                         stream);
    });
  });
}

std::size_t split_backward_workspace(const SplitArgs& args) {
  if (args.theta == nullptr) return 0;
  return static_cast<std::size_t>(theta_parts(args.projection.rows) * args.heads * args.head_dim) *
         sizeof(float);
}

Status split_backward(const SplitArgs& args, const Matrix& d_projection, const Matrix& d_theta,
                      void* workspace, cudaStream_t stream) {
  check(args);
  const std::int64_t tokens = args.projection.rows, width = args.heads * args.head_dim;
  TNL_CHECK(d_projection.rows == tokens && d_projection.cols >= 3 * width);
  if (tokens == 0) return {};
  return with_activation_type(args.projection.dtype, [&](auto type) {
    using T = decltype(type);
    return with_vectors<kVector<T>>(
        wide(args, d_projection, kVector<T>), [&](auto count) -> Status {
          const SplitViews<T> m = views<T>(args, d_projection);
          const Columns columns = columns_to_activate(args, d_projection);
          TNL_TRY(launch_elementwise<count()>(tokens, columns.count,
                                              Activate<T, count(), true>{m, columns.first},
                                              "split_backward", stream));
          if (args.theta == nullptr) return {};
          const std::int64_t parts = theta_parts(tokens);
          constexpr std::int64_t kColumns = kStripLanes * count();
          const dim3 grid(static_cast<unsigned>((parts + kThetaRows - 1) / kThetaRows),
                          static_cast<unsigned>((width + kColumns - 1) / kColumns));
          auto* partial = static_cast<float*>(workspace);
          rotate_backward_kernel<T, count()>
              <<<grid, dim3(kStripLanes, kThetaRows), 0, stream>>>(m, tokens, partial);
          theta_sum_kernel<<<static_cast<unsigned>((width + 63) / 64), 64, 0, stream>>>(
              partial, parts, width, view<float>(d_theta).data);
          return cuda_status(cudaGetLastError(), "split_backward with LRPE");
        });
  });
}

}  // namespace tnl::cuda
