// cuBLASLt, found when a program needs it: nothing links against it, so that the backend loads on
// machines without.
#pragma once

#include <cublasLt.h>

#include <memory>

#include "tnl/status.h"

namespace tnl::cuda {

struct CublasLt {
  // The first of: what the loader finds by name, the folders of CUDA installations, the folders of
  // Python wheels. Not found: kUnavailable, saying what was looked for.
  static Result<std::shared_ptr<const CublasLt>> load();

  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulAlgoCheck) check = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtGetStatusString) status_string = nullptr;

  Status status(cublasStatus_t result, const char* what) const;
};

}  // namespace tnl::cuda
