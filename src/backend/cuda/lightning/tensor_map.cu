#include "backend/cuda/lightning/tensor_map.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/lightning/work.h"
#include "core/try.h"

namespace tnl::cuda {

namespace {

// The driver is asked at run time: linking to it would need one where there is no GPU.
Result<decltype(&cuTensorMapEncodeTiled)> encoder() {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
  TNL_TRY(cuda_status(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                                       cudaEnableDefault, &found),
                      "looking up cuTensorMapEncodeTiled"));
  if (found != cudaDriverEntryPointSuccess) {
    return unavailable("the CUDA driver has no cuTensorMapEncodeTiled: it is older than 12.0");
  }
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
}

}  // namespace

Status encode_operand(const AttentionProblem& problem, const AttentionOperand& operand,
                      std::int64_t columns, int tiles, CUtensorMap& map) {
  static const auto encode = encoder();
  if (!encode.ok()) return encode.status();
  const bool packed = !problem.cu_seqlens.empty();
  const std::int64_t tokens = packed ? problem.cu_seqlens[problem.sequences] : problem.tokens;
  const std::int64_t batches = packed ? 1 : problem.sequences;
  if (tokens == 0 || batches == 0 || problem.heads == 0) return {};  // no block will look at it
  // The stride of an axis of length 1 is free; any legal one will do.
  const auto stride = [](std::int64_t length, std::int64_t elements) {
    return static_cast<cuuint64_t>(length > 1 ? 2 * elements : 16);
  };
  const std::int64_t width = tiles > 0 ? kTile : columns;
  const cuuint64_t shape[5] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(tokens),
                               static_cast<cuuint64_t>(columns / width),
                               static_cast<cuuint64_t>(problem.heads),
                               static_cast<cuuint64_t>(batches)};
  const cuuint64_t strides[4] = {stride(tokens, operand.stride_token), 2 * kTile,
                                 stride(problem.heads, operand.stride_head),
                                 stride(batches, operand.stride_batch)};
  const cuuint32_t box[5] = {kTile, kChunk, static_cast<cuuint32_t>(std::max(tiles, 1)), 1, 1};
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  const auto type = problem.dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                  : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  // A row of one tile is 128 bytes; where a head has more, its neighbour is wanted next.
  const auto promotion =
      columns <= kTile ? CU_TENSOR_MAP_L2_PROMOTION_L2_128B : CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  const CUresult result = (*encode)(&map, type, 5, operand.data, shape, strides, box, steps,
                                    CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                    promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return internal_error("cuTensorMapEncodeTiled refused an operand of attention: error " +
                          std::to_string(static_cast<int>(result)));
  }
  return {};
}

}  // namespace tnl::cuda
