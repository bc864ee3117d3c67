// y = x Wᵀ for a few rows of x of any dtype and alignment; what few_rows.cu serves is faster there.
// A warp owns two rows of W and streams them once for up to four rows of x, which come from the
// caches. Floor: the bytes of W.
#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ops/ops.h"
#include "backend/cuda/ops/vector.cuh"
#include "core/try.h"

namespace tnl::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kColumns = 2;  // rows of W, columns of y, of a warp
constexpr std::int64_t kRowsAtOnce = 4;

template <class T, class W>
struct GemvViews {
  View<T> x;
  View<W> w;
  View<T> y;
  std::int64_t rows, cols, depth;
  float alpha, beta;
};

template <class T, class W, int kCount, int kRows>
__global__ void __launch_bounds__(kThreads) gemv_kernel(GemvViews<T, W> m) {
  const std::int64_t first =
      (static_cast<std::int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32) * kColumns;
  if (first >= m.cols) return;
  const int lane = threadIdx.x % 32;
  float sums[kColumns][kRows] = {};
#pragma unroll 4
  for (std::int64_t at = lane * kCount; at < m.depth; at += 32 * kCount) {
    Vector<W, kCount> weights[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const std::int64_t column = min(first + c, m.cols - 1);
      weights[c] = Vector<W, kCount>::load(m.w.row(column) + at);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const auto values = Vector<T, kCount>::load(m.x.row(r) + at);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          sums[c][r] = fmaf(weights[c][i], values[i], sums[c][r]);
        }
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float sum = sums[c][r];
#pragma unroll
      for (int distance = 16; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
      }
      if (lane != 0 || first + c >= m.cols) continue;
      T& to = m.y.row(r)[first + c];
      from_float(m.beta == 0.f ? m.alpha * sum : fmaf(m.alpha, sum, m.beta * to_float(to)), to);
    }
  }
}

template <class T, class W, int kCount>
auto kernel_for(std::int64_t rows) {
  switch (rows) {
    case 1:
      return gemv_kernel<T, W, kCount, 1>;
    case 2:
      return gemv_kernel<T, W, kCount, 2>;
    case 3:
      return gemv_kernel<T, W, kCount, 3>;
    default:
      return gemv_kernel<T, W, kCount, 4>;
  }
}

}  // namespace

Status gemv(double alpha, const Matrix& a, const Matrix& b, double beta, const Matrix& c,
            cudaStream_t stream) {
  TNL_CHECK(a.rows == c.rows && b.rows == c.cols && a.cols == b.cols);
  if (c.rows == 0 || c.cols == 0) return {};
  if (a.rows > kRowsAtOnce) {
    TNL_TRY(gemv(alpha, a.row_block(0, kRowsAtOnce), b, beta, c.row_block(0, kRowsAtOnce), stream));
    const std::int64_t left = a.rows - kRowsAtOnce;
    return gemv(alpha, a.row_block(kRowsAtOnce, left), b, beta, c.row_block(kRowsAtOnce, left),
                stream);
  }
  return with_activation_type(a.dtype, [&](auto type) {
    return with_stored_type(b.dtype, [&](auto weight_type) {
      using T = decltype(type);
      using W = decltype(weight_type);
      constexpr int kWide = kVector<W>;
      const auto kernel = has_vectors(a, kWide) && has_vectors(b, kWide)
                              ? kernel_for<T, W, kWide>(a.rows)
                              : kernel_for<T, W, 1>(a.rows);
      constexpr std::int64_t kBlockColumns = kThreads / 32 * kColumns;
      const auto blocks = static_cast<unsigned>((c.cols + kBlockColumns - 1) / kBlockColumns);
      kernel<<<blocks, kThreads, 0, stream>>>({view<T>(a), view<W>(b), view<T>(c), c.rows, c.cols,
                                               a.cols, static_cast<float>(alpha),
                                               static_cast<float>(beta)});
      return cuda_status(cudaGetLastError(), "gemv");
    });
  });
}

}  // namespace tnl::cuda
