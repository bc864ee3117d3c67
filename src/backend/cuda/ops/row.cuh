// Operations with sums over a row. A group of threads owns a row and holds its part of it in
// registers, so that every input is read once; rows too wide or badly aligned are read again.
#pragma once

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ops/vector.cuh"

namespace tnl::cuda {

// kItems vectors of kCount elements a thread, kLanes threads a row; kItems = 0: any number.
template <int kVectorCount, int kGroupLanes, int kVectorItems>
struct RowShape {
  static constexpr int kCount = kVectorCount, kLanes = kGroupLanes, kItems = kVectorItems;
  static constexpr int kThreads = kLanes < 128 ? 128 : kLanes;  // a block
  static constexpr int kRows = kThreads / kLanes;               // of a block
};

template <class Shape>
struct RowGroup {
  std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x) * Shape::kRows + threadIdx.x / Shape::kLanes;
  int lane = threadIdx.x % Shape::kLanes;

  // `body(item, column)` for every vector of this thread.
  template <class Body>
  __device__ __forceinline__ void each(std::int64_t cols, const Body& body) const {
    if constexpr (Shape::kItems > 0) {
#pragma unroll
      for (int item = 0; item < Shape::kItems; ++item) {
        const std::int64_t column =
            static_cast<std::int64_t>(lane + item * Shape::kLanes) * Shape::kCount;
        if (column < cols) body(item, column);
      }
    } else {
      for (std::int64_t column = lane * Shape::kCount; column < cols;
           column += Shape::kLanes * Shape::kCount) {
        body(0, column);
      }
    }
  }

  // The sum over the group, for every thread of it, in a fixed order.
  __device__ __forceinline__ float sum(float x) const {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      x += __shfl_xor_sync(0xffffffffu, x, distance);
    }
    if constexpr (Shape::kLanes > 32) {
      __shared__ float partial[Shape::kLanes / 32];
      __syncthreads();  // a sum before this one may still be read
      if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
      __syncthreads();
      x = 0;
#pragma unroll
      for (int warp = 0; warp < Shape::kLanes / 32; ++warp) x += partial[warp];
    }
    return x;
  }
};

template <class T, class Shape>
struct RowInput {
  using Item = Vector<T, Shape::kCount>;

  __device__ __forceinline__ RowInput(const RowGroup<Shape>& group, const T* data,
                                      std::int64_t cols)
      : row(data) {
    if constexpr (Shape::kItems > 0) {
      group.each(cols,
                 [&](int item, std::int64_t column) { items[item] = Item::load(row + column); });
    }
  }
  __device__ __forceinline__ Item get(int item, std::int64_t column) const {
    if constexpr (Shape::kItems > 0) return items[item];
    return Item::load(row + column);
  }

  const T* row;
  Item items[Shape::kItems > 0 ? Shape::kItems : 1];
};

// `body(shape)` with the smallest shape that holds a row.
template <class T, class Body>
Status with_row_shape(bool wide, std::int64_t cols, const Body& body) {
  constexpr int kCount = kVector<T>;
  const std::int64_t vectors = cols / kCount;
  if (wide && vectors <= 128) return body(RowShape<kCount, 32, 4>());
  if (wide && vectors <= 512) return body(RowShape<kCount, 128, 4>());
  if (wide && vectors <= 2048) return body(RowShape<kCount, 512, 4>());
  return body(RowShape<1, 256, 0>());
}

template <class Shape>
unsigned row_blocks(std::int64_t rows) {
  return static_cast<unsigned>((rows + Shape::kRows - 1) / Shape::kRows);
}

}  // namespace tnl::cuda
