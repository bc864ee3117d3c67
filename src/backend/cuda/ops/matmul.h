// Matrix products through cuBLASLt. The algorithm of a shape is chosen at its first use and kept,
// so that the same call gives the same bits for the life of the object, and beyond it for who keeps
// the choices.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <memory>

#include "backend/backend.h"
#include "backend/cuda/matmul_choices.h"
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

  std::int64_t version() const { return static_cast<std::int64_t>(lt_->version()); }
  // Of the products so far, and what was adopted for others.
  MatmulChoices choices() const;
  // Of the same version. No product may be under way.
  void adopt(MatmulChoices choices);

 private:
  struct Problem;  // descriptors and algorithm of a shape

  Matmul(std::shared_ptr<const CublasLt> lt, cublasLtHandle_t handle, void* workspace);
  Result<std::unique_ptr<Problem>> plan(MatmulForm form, const Matrix& a, const Matrix& b,
                                        const Matrix& c, const MatmulKey& key);
  Status choose(Problem& problem, const MatmulKey& key) const;
  // The algorithm that was adopted, where this device can run it.
  Status use_adopted(Problem& problem, const MatmulKey& key) const;

  std::shared_ptr<const CublasLt> lt_;
  cublasLtHandle_t handle_;
  void* workspace_;
  std::map<MatmulKey, std::unique_ptr<Problem>> problems_;
  MatmulChoices adopted_;  // they come before any choice of its own
};

}  // namespace tnl::cuda
