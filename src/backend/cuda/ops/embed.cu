// Embedding: rows of the table by token, and the gradient of the table without atomics: tokens are
// sorted by id, stably, and a block adds up the rows of one id in token order.
#include <cub/device/device_radix_sort.cuh>

#include "backend/cuda/ops/elementwise.cuh"
#include "backend/cuda/ops/ops.h"
#include "backend/cuda/ptx/sync.cuh"
#include "core/try.h"

namespace tnl::cuda {
namespace {

template <class Stored, class T, int kCount>
struct Embed {
  View<Stored> table;
  View<T> out;
  const std::int32_t* ids;
  float scale;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    ptx::launch_next_grid();  // the first projection may begin to read its weights
    const auto in = Vector<Stored, kCount>::load(table.row(ids[row]) + column);
    Vector<T, kCount> values;
#pragma unroll
    for (int i = 0; i < kCount; ++i) values.set(i, in[i] * scale);
    values.store(out.row(row) + column);
  }
};

__global__ void number_kernel(std::int32_t* numbers, std::int32_t count) {
  const std::int32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) numbers[i] = i;
}

constexpr int kEmbedThreads = 128;

// A block: the run of equal ids that begins at its position, if one does.
template <class T, int kCount>
__global__ void __launch_bounds__(kEmbedThreads)
    embed_backward_kernel(View<T> d_out, View<float> d_table, const std::int32_t* ids,
                          const std::int32_t* tokens, std::int32_t count, std::int64_t cols,
                          float scale, std::int32_t skip_id) {
  const std::int32_t first = blockIdx.x;
  const std::int32_t id = ids[first];
  if ((first > 0 && ids[first - 1] == id) || id == skip_id) return;
  const std::int64_t column =
      (static_cast<std::int64_t>(blockIdx.y) * kEmbedThreads + threadIdx.x) * kCount;
  if (column >= cols) return;
  float* to = d_table.row(id) + column;
  float sums[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums[i] = to[i];
#pragma unroll 4
  for (std::int32_t at = first; at < count && ids[at] == id; ++at) {
    const auto slope = Vector<T, kCount>::load(d_out.row(tokens[at]) + column);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] = fmaf(slope[i], scale, sums[i]);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = sums[i];
}

std::size_t rounded(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

std::size_t sort_bytes(std::int32_t tokens) {
  std::size_t bytes = 0;
  std::int32_t* none = nullptr;
  cub::DeviceRadixSort::SortPairs(nullptr, bytes, none, none, none, none, tokens, 0, 31);
  return rounded(bytes);
}

int bits_of(std::int64_t count) {
  int bits = 1;
  while ((std::int64_t{1} << bits) < count) ++bits;
  return bits;
}

}  // namespace

Status embed(const Matrix& table, const std::int32_t* ids, double scale, const Matrix& out,
             cudaStream_t stream) {
  TNL_CHECK(table.cols == out.cols);
  return with_stored_type(table.dtype, [&](auto stored_type) {
    return with_activation_type(out.dtype, [&](auto type) {
      using Stored = decltype(stored_type);
      using T = decltype(type);
      constexpr int kWide = kVector<Stored> < kVector<T> ? kVector<Stored> : kVector<T>;
      const bool vectors = has_vectors(table, kWide) && has_vectors(out, kWide);
      return with_vectors<kWide>(vectors, [&](auto count) {
        return launch_elementwise<count()>(
            out.rows, out.cols,
            Embed<Stored, T, count()>{view<Stored>(table), view<T>(out), ids,
                                      static_cast<float>(scale)},
            "embed", stream);
      });
    });
  });
}

std::size_t embed_backward_workspace(std::int64_t tokens) {
  const auto count = static_cast<std::int32_t>(tokens);
  return 3 * rounded(static_cast<std::size_t>(tokens) * sizeof(std::int32_t)) + sort_bytes(count);
}

Status embed_backward(const Matrix& d_out, const std::int32_t* ids, double scale,
                      std::int64_t skip_id, const Matrix& d_table, void* workspace,
                      cudaStream_t stream) {
  TNL_CHECK(d_out.cols == d_table.cols && d_out.rows < (std::int64_t{1} << 31));
  if (d_out.rows == 0 || d_out.cols == 0) return {};
  const auto tokens = static_cast<std::int32_t>(d_out.rows);
  const std::size_t array = rounded(static_cast<std::size_t>(tokens) * sizeof(std::int32_t));
  char* next = static_cast<char*>(workspace);
  auto* numbers = reinterpret_cast<std::int32_t*>(next);
  auto* sorted_ids = reinterpret_cast<std::int32_t*>(next + array);
  auto* sorted_tokens = reinterpret_cast<std::int32_t*>(next + 2 * array);
  std::size_t bytes = sort_bytes(tokens);
  number_kernel<<<static_cast<unsigned>((tokens + 255) / 256), 256, 0, stream>>>(numbers, tokens);
  TNL_TRY(cuda_status(
      cub::DeviceRadixSort::SortPairs(next + 3 * array, bytes, ids, sorted_ids, numbers,
                                      sorted_tokens, tokens, 0, bits_of(d_table.rows), stream),
      "sorting tokens for embed_backward"));
  return with_activation_type(d_out.dtype, [&](auto type) {
    using T = decltype(type);
    return with_vectors<kVector<T>>(has_vectors(d_out, kVector<T>), [&](auto count) {
      constexpr std::int64_t kColumns = kEmbedThreads * count();
      const dim3 grid(static_cast<unsigned>(tokens),
                      static_cast<unsigned>((d_out.cols + kColumns - 1) / kColumns));
      embed_backward_kernel<T, count()><<<grid, kEmbedThreads, 0, stream>>>(
          view<T>(d_out), view<float>(d_table), sorted_ids, sorted_tokens, tokens, d_out.cols,
          static_cast<float>(scale), static_cast<std::int32_t>(skip_id));
      return cuda_status(cudaGetLastError(), "embed_backward");
    });
  });
}

}  // namespace tnl::cuda
