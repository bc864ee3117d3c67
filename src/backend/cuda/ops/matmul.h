// Matrix products through cuBLASLt. The algorithm of a shape is chosen at its first use and kept,
// so that the same call gives the same bits for the life of the object.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <memory>
#include <tuple>

#include "backend/backend.h"
#include "backend/cuda/ops/cublaslt.h"
#include "tnl/status.h"

namespace tnl::cuda {

class Matmul {
 public:
  static constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

  // `workspace`: kWorkspaceBytes of device memory at a multiple of 256.
  static Result<std::unique_ptr<Matmul>> create(void* workspace);
  ~Matmul();

  // out = alpha * product + beta * c, as Backend::matmul; `out` may be c or other memory of the
  // same shape, stride and dtype. a and b are of one dtype, f32, bf16 or f16; c is of that dtype or
  // f32.
  Status run(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
             const Matrix& c, const Matrix& out, cudaStream_t stream);

 private:
  struct Problem;  // descriptors and algorithm of a shape
  // form, rows and columns of c, depth, strides, dtypes, alignments, whether c is read
  using Key = std::tuple<int, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                         std::int64_t, int, int, int, int, int, bool>;

  Matmul(std::shared_ptr<const CublasLt> lt, cublasLtHandle_t handle, void* workspace);
  Result<std::unique_ptr<Problem>> plan(MatmulForm form, const Matrix& a, const Matrix& b,
                                        const Matrix& c, const Key& key);

  std::shared_ptr<const CublasLt> lt_;
  cublasLtHandle_t handle_;
  void* workspace_;
  std::map<Key, std::unique_ptr<Problem>> problems_;
};

}  // namespace tnl::cuda
