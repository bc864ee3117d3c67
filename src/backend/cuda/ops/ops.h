// The operations of the model around attention as launches: asynchronous on the stream, nothing
// allocated, no atomics, the same bits every run. Every pointer is device memory; shapes and
// meanings are those of backend.h. Activations are bf16 or f32, sums are f32.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"
#include "tnl/status.h"

namespace tnl::cuda {

// to = from, each of f32, bf16 or f16.
Status convert(const Matrix& from, const Matrix& to, cudaStream_t stream);
// x *= factor; a factor of 0 writes zeros whatever x was.
Status scale(double factor, const Matrix& x, cudaStream_t stream);

Status embed(const Matrix& table, const std::int32_t* ids, double scale, const Matrix& out,
             cudaStream_t stream);
// d_table is f32. `workspace` holds embed_backward_workspace() bytes.
std::size_t embed_backward_workspace(std::int64_t tokens);
Status embed_backward(const Matrix& d_out, const std::int32_t* ids, double scale,
                      std::int64_t skip_id, const Matrix& d_table, void* workspace,
                      cudaStream_t stream);

Status srmsnorm(const Matrix& x, double eps, const Matrix& y, cudaStream_t stream);
// y = srmsnorm(x) besides, where `y` is given.
Status srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                         const Matrix& dx, const Matrix& y, cudaStream_t stream);

Status norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps, const Matrix& y,
                 cudaStream_t stream);
// y = norm_gate(o, u) besides, where `y` is given.
Status norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u, const Matrix& dy,
                          double eps, const Matrix& d_o, const Matrix& d_u, const Matrix& y,
                          cudaStream_t stream);

// args.positions and args.mask are device memory.
Status split(const SplitArgs& args, cudaStream_t stream);
// `workspace` holds split_backward_workspace() bytes; d_theta is f32.
std::size_t split_backward_workspace(const SplitArgs& args);
Status split_backward(const SplitArgs& args, const Matrix& d_projection, const Matrix& d_theta,
                      void* workspace, cudaStream_t stream);

Status product(const Matrix& a, const Matrix& b, const Matrix& y, cudaStream_t stream);
// y = a * b besides, where `y` is given.
Status product_backward(const Matrix& a, const Matrix& b, const Matrix& dy, const Matrix& da,
                        const Matrix& db, const Matrix& y, cudaStream_t stream);

Status cross_entropy(const Matrix& logits, const std::int32_t* targets, const double* d_scale,
                     double* losses, cudaStream_t stream);

// Products with at most kMostFewRows rows of A, bound by reading B. A row of the result has the
// same bits whatever rows come with it.
inline constexpr std::int64_t kMostFewRows = 32;
// C = alpha A Bᵀ + beta C, B of any dtype.
Status gemv(double alpha, const Matrix& a, const Matrix& b, double beta, const Matrix& c,
            cudaStream_t stream);

// The same on tensor cores, and with the steps around it, as backend.h has them. Whether they
// serve: bf16, rows of x and W in whole vectors, a depth of whole steps.
bool few_rows(const Matrix& x, const Matrix& weights);
// How they are launched. Dependent: the kernel may begin to read the weights while the one before
// it runs, which must not write them.
struct FewRowsLaunch {
  cudaStream_t stream = nullptr;
  bool dependent = false;  // from sm_90 on
};
// out = alpha A Bᵀ + beta c
Status few_rows_product(double alpha, const Matrix& a, const Matrix& b, double beta,
                        const Matrix& c, const Matrix& out, const FewRowsLaunch& launch);
Status few_rows_norm_product(const Matrix& x, double eps, const Matrix& weights, const Matrix& y,
                             const FewRowsLaunch& launch);
// Both of its products. No mask.
Status few_rows_project(const ProjectArgs& args, const FewRowsLaunch& launch);
Status few_rows_gate_onto(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                          const Matrix& weights, const Matrix& residual, const Matrix& out,
                          const FewRowsLaunch& launch);
Status few_rows_glu(const Matrix& x, double eps, const Matrix& weights, const Matrix& both,
                    const Matrix& product, const FewRowsLaunch& launch);

// args.rounded, where given, gets the updated parameters in bf16.
Status adamw(const AdamWArgs& args, cudaStream_t stream);
// sum = Σ values² in f64. `workspace` holds sum_of_squares_workspace() bytes.
std::size_t sum_of_squares_workspace(std::int64_t count);
Status sum_of_squares(const float* values, std::int64_t count, double* sum, void* workspace,
                      cudaStream_t stream);

}  // namespace tnl::cuda
