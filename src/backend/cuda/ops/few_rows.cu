#include "backend/cuda/ops/few_rows.cuh"

#include <type_traits>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ops/ops.h"
#include "core/try.h"

namespace tnl::cuda {
namespace {

constexpr std::int64_t kVectorBytes = 16;
constexpr std::int64_t kBlockRows = 16;  // of W
// Warps of a block: more where W has few rows, so that all multiprocessors stream.
constexpr int kWarps = 8, kManyWarps = 16;
constexpr std::int64_t kFewBlocks = 256;  // less than two for each of a large device

bool aligned(const Matrix& matrix) {
  return reinterpret_cast<std::uintptr_t>(matrix.data) % kVectorBytes == 0 &&
         matrix.row_stride % (kVectorBytes / 2) == 0;
}

View<const bf16> input(const Matrix& matrix) {
  TNL_CHECK(matrix.dtype == DType::kBF16);
  return {static_cast<const bf16*>(matrix.data), matrix.row_stride};
}

// A block has 16 rows of W next to each other.
FewRows plain_rows(const Matrix& weights, std::int64_t rows) {
  return {.w = static_cast<const bf16*>(weights.data),
          .w_stride = weights.row_stride,
          .second_half = kBlockRows / 2,
          .block_columns = kBlockRows,
          .columns = weights.rows,
          .w_rows = weights.rows,
          .rows = static_cast<std::int32_t>(rows),
          .steps = static_cast<std::int32_t>(weights.cols / kStepDepth)};
}

// A block has eight rows of each half of W, whose results belong together.
FewRows paired_rows(const Matrix& weights, std::int64_t rows) {
  FewRows params = plain_rows(weights, rows);
  params.second_half = params.columns = weights.rows / 2;
  params.block_columns = kBlockRows / 2;
  return params;
}

template <int kTiles, int kWide, int kBlockWarps, int kAhead, class Input, class Output>
Status run(const FewRows& params, const Input& in, const Output& out, const FewRowsLaunch& launch) {
  constexpr int kRows = kTileRows * kTiles;
  const std::int64_t columns = kWide * params.block_columns;
  const std::int64_t blocks = (params.columns + columns - 1) / columns;
  cudaLaunchConfig_t config{};
  config.gridDim =
      dim3(static_cast<unsigned>(blocks), static_cast<unsigned>((params.rows + kRows - 1) / kRows));
  config.blockDim = dim3(32 * kBlockWarps);
  config.stream = launch.stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = launch.dependent ? 1 : 0;
  return cuda_status(
      cudaLaunchKernelEx(&config,
                         few_rows_kernel<Input, Output, kTiles, kWide, kBlockWarps, kAhead>, params,
                         in, out),
      "a product with few rows");
}

// The shape of W decides about the warps: how the depth is cut must not depend on the rows.
template <class Input, class Output>
Status run(const FewRows& params, const Input& in, const Output& out, const FewRowsLaunch& launch) {
  if (params.rows == 0 || params.columns == 0) return {};
  TNL_CHECK(params.rows <= kMostFewRows);
  const std::int64_t blocks = params.columns / params.block_columns;
  if (blocks < kFewBlocks) {
    if (params.rows <= kTileRows) return run<1, 1, kManyWarps, 4>(params, in, out, launch);
    if (params.rows <= 2 * kTileRows) return run<2, 1, kManyWarps, 4>(params, in, out, launch);
    return run<4, 1, kManyWarps, 4>(params, in, out, launch);
  }
  if (params.rows <= kTileRows) return run<1, 1, kWarps, 4>(params, in, out, launch);
  if (params.rows <= 2 * kTileRows) return run<2, 1, kWarps, 4>(params, in, out, launch);
  // x comes from the second-level cache, as many bytes as W: two tiles of W share what is read of
  // it, where that leaves enough blocks.
  if (blocks < 2 * kFewBlocks) return run<4, 1, kWarps, 4>(params, in, out, launch);
  return run<4, 2, kWarps, 2>(params, in, out, launch);
}

}  // namespace

bool few_rows(const Matrix& x, const Matrix& weights) {
  return x.rows <= kMostFewRows && x.dtype == DType::kBF16 && weights.dtype == DType::kBF16 &&
         x.cols % kStepDepth == 0 && x.cols > 0 && aligned(x) && aligned(weights);
}

Status few_rows_product(double alpha, const Matrix& a, const Matrix& b, double beta,
                        const Matrix& c, const Matrix& out, const FewRowsLaunch& launch) {
  return run(
      plain_rows(b, a.rows), PlainInput{input(a)},
      PlainOutput{view<bf16>(out), input(c), static_cast<float>(alpha), static_cast<float>(beta)},
      launch);
}

Status few_rows_norm_product(const Matrix& x, double eps, const Matrix& weights, const Matrix& y,
                             const FewRowsLaunch& launch) {
  return run(plain_rows(weights, x.rows), NormInput{input(x), static_cast<float>(eps)},
             PlainOutput{view<bf16>(y), {}, 1.f, 0.f}, launch);
}

Status few_rows_project(const ProjectArgs& args, const FewRowsLaunch& launch) {
  const SplitArgs& split = args.split;
  const std::int64_t width = split.heads * split.head_dim;
  const bool in_place = split.v.data == split.projection.columns(2 * width, width).data;
  TNL_CHECK(split.mask.empty() && (!in_place || !split.silu_v));
  const SplitOutput out{.projection = view<bf16>(split.projection),
                        .q = view<bf16>(split.q),
                        .k = view<bf16>(split.k),
                        .v = in_place ? View<bf16>() : view<bf16>(split.v),
                        .theta = split.theta,
                        .theta_dtype = split.theta_dtype,
                        .positions = split.positions.data(),
                        .width = width,
                        .head_dim = split.head_dim,
                        .silu_qk = split.silu_qk,
                        .silu_v = split.silu_v};
  TNL_TRY(run(plain_rows(args.weights, args.x.rows),
              NormInput{input(args.x), static_cast<float>(args.eps)}, out, launch));
  if (!args.gate_low.given()) return {};
  return few_rows_norm_product(args.x, args.eps, args.gate_down, args.gate_low, launch);
}

Status few_rows_gate_onto(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                          const Matrix& weights, const Matrix& residual, const Matrix& out,
                          const FewRowsLaunch& launch) {
  const FewRows params = plain_rows(weights, o.rows);
  const PlainOutput output{view<bf16>(out), input(residual), 1.f, 1.f};
  const auto epsilon = static_cast<float>(eps);
  if (kind == GateKind::kSigmoid) {
    return run(params, GateInput<true>{input(o), input(u), epsilon}, output, launch);
  }
  return run(params, GateInput<false>{input(o), input(u), epsilon}, output, launch);
}

Status few_rows_glu(const Matrix& x, double eps, const Matrix& weights, const Matrix& both,
                    const Matrix& product, const FewRowsLaunch& launch) {
  return run(paired_rows(weights, x.rows), NormInput{input(x), static_cast<float>(eps)},
             ProductOutput{view<bf16>(both), view<bf16>(product)}, launch);
}

}  // namespace tnl::cuda
