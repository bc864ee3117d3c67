#include "backend/cuda/ops/matmul.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "core/check.h"
#include "core/try.h"

namespace tnl::cuda {
namespace {

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    default:
      TNL_CHECK(dtype == DType::kF32);
      return CUDA_R_32F;
  }
}

// The largest power of two up to 256 that divides the address and the bytes of a row.
int alignment(const Matrix& matrix) {
  const auto bits = reinterpret_cast<std::uintptr_t>(matrix.data) |
                    static_cast<std::uintptr_t>(matrix.row_stride * dtype_size(matrix.dtype)) | 256;
  return static_cast<int>(bits & (~bits + 1));
}

std::int64_t depth_of(MatmulForm form, const Matrix& a) {
  return form == MatmulForm::kTN ? a.rows : a.cols;
}

}  // namespace

// cuBLASLt's matrices are column-major: what is a row-major C to us is Cᵀ to it, so it is asked for
// Cᵀ = op(B) op(A).
struct Matmul::Problem {
  explicit Problem(const CublasLt& library) : lt(library) {}
  ~Problem() {
    if (desc != nullptr) lt.desc_destroy(desc);
    for (cublasLtMatrixLayout_t layout : {first, second, result}) {
      if (layout != nullptr) lt.layout_destroy(layout);
    }
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  const CublasLt& lt;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
};

Result<std::unique_ptr<Matmul>> Matmul::create(void* workspace) {
  TNL_ASSIGN(std::shared_ptr<const CublasLt> lt, CublasLt::load());
  cublasLtHandle_t handle = nullptr;
  TNL_TRY(lt->status(lt->create(&handle), "creating a handle"));
  return std::unique_ptr<Matmul>(new Matmul(std::move(lt), handle, workspace));
}

Matmul::Matmul(std::shared_ptr<const CublasLt> lt, cublasLtHandle_t handle, void* workspace)
    : lt_(std::move(lt)), handle_(handle), workspace_(workspace) {}

Matmul::~Matmul() {
  problems_.clear();
  lt_->destroy(handle_);
}

Result<std::unique_ptr<Matmul::Problem>> Matmul::plan(MatmulForm form, const Matrix& a,
                                                      const Matrix& b, const Matrix& c,
                                                      const MatmulKey& key) {
  auto problem = std::make_unique<Problem>(*lt_);
  const auto layout = [&](cublasLtMatrixLayout_t& made, const Matrix& matrix) {
    return lt_->status(
        lt_->layout_create(&made, data_type(matrix.dtype), static_cast<std::uint64_t>(matrix.cols),
                           static_cast<std::uint64_t>(matrix.rows),
                           std::max(matrix.row_stride, matrix.cols)),
        "describing a matrix");
  };
  TNL_TRY(layout(problem->first, b));
  TNL_TRY(layout(problem->second, a));
  TNL_TRY(layout(problem->result, c));
  TNL_TRY(lt_->status(lt_->desc_create(&problem->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                      "describing a product"));
  const cublasOperation_t transpose_first = form == MatmulForm::kNT ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t transpose_second = form == MatmulForm::kTN ? CUBLAS_OP_T : CUBLAS_OP_N;
  TNL_TRY(lt_->status(lt_->desc_set(problem->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose_first,
                                    sizeof(transpose_first)),
                      "describing a product"));
  TNL_TRY(lt_->status(lt_->desc_set(problem->desc, CUBLASLT_MATMUL_DESC_TRANSB, &transpose_second,
                                    sizeof(transpose_second)),
                      "describing a product"));

  if (adopted_.algorithms.contains(key)) {
    TNL_TRY(use_adopted(*problem, key));
  } else {
    TNL_TRY(choose(*problem, key));
  }
  return Result<std::unique_ptr<Problem>>(std::move(problem));
}

Status Matmul::choose(Problem& problem, const MatmulKey& key) const {
  cublasLtMatmulPreference_t preference = nullptr;
  TNL_TRY(lt_->status(lt_->preference_create(&preference), "choosing an algorithm"));
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    return lt_->preference_set(preference, attribute, &value, sizeof(value));
  };
  const std::size_t workspace_bytes = kWorkspaceBytes;
  const auto align_a = static_cast<std::uint32_t>(key.align_a);
  const auto align_b = static_cast<std::uint32_t>(key.align_b);
  const auto align_c = static_cast<std::uint32_t>(key.align_c);
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_b);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_a);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_c);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_c);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const Status chosen =
      lt_->status(lt_->heuristic(handle_, problem.desc, problem.first, problem.second,
                                 problem.result, problem.result, preference, 1, &found, &count),
                  "choosing an algorithm");
  lt_->preference_destroy(preference);
  TNL_TRY(chosen);
  if (count == 0) return internal_error("choosing an algorithm: cuBLASLt has none for this shape");
  problem.algorithm = found.algo;
  return {};
}

Status Matmul::use_adopted(Problem& problem, const MatmulKey& key) const {
  const MatmulAlgorithm& algorithm = adopted_.algorithms.at(key);
  static_assert(sizeof(problem.algorithm) == sizeof(algorithm));
  std::memcpy(&problem.algorithm, algorithm.data(), sizeof(algorithm));
  cublasLtMatmulHeuristicResult_t checked{};
  const cublasStatus_t status =
      lt_->check(handle_, problem.desc, problem.first, problem.second, problem.result,
                 problem.result, &problem.algorithm, &checked);
  if (status == CUBLAS_STATUS_SUCCESS && checked.workspaceSize <= kWorkspaceBytes) return {};
  return invalid_argument("a matrix product of " + std::to_string(key.rows) + " x " +
                          std::to_string(key.depth) + " x " + std::to_string(key.cols) +
                          ": cuBLASLt cannot run the algorithm that the checkpoint names here");
}

MatmulChoices Matmul::choices() const {
  MatmulChoices choices = adopted_;
  choices.version = version();
  for (const auto& [key, problem] : problems_) {
    std::memcpy(choices.algorithms[key].data(), &problem->algorithm, sizeof(MatmulAlgorithm));
  }
  return choices;
}

void Matmul::adopt(MatmulChoices choices) {
  problems_.clear();
  adopted_ = std::move(choices);
}

Status Matmul::run(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
                   const Matrix& c, const Matrix& out, cudaStream_t stream) {
  TNL_CHECK(a.dtype == b.dtype && (c.dtype == a.dtype || c.dtype == DType::kF32));
  TNL_CHECK(out.dtype == c.dtype && out.rows == c.rows && out.cols == c.cols &&
            out.row_stride == c.row_stride);
  const MatmulKey key{.form = static_cast<int>(form),
                      .rows = c.rows,
                      .cols = c.cols,
                      .depth = depth_of(form, a),
                      .stride_a = a.row_stride,
                      .stride_b = b.row_stride,
                      .stride_c = c.row_stride,
                      .dtype = static_cast<int>(a.dtype),
                      .dtype_c = static_cast<int>(c.dtype),
                      .align_a = alignment(a),
                      .align_b = alignment(b),
                      .align_c = std::min(alignment(c), alignment(out)),
                      .reads_c = beta != 0 ? 1 : 0};
  auto entry = problems_.find(key);
  if (entry == problems_.end()) {
    TNL_ASSIGN(std::unique_ptr<Problem> problem, plan(form, a, b, c, key));
    entry = problems_.emplace(key, std::move(problem)).first;
  }
  const Problem& problem = *entry->second;
  const float scale = static_cast<float>(alpha), keep = static_cast<float>(beta);
  return lt_->status(
      lt_->matmul(handle_, problem.desc, &scale, b.data, problem.first, a.data, problem.second,
                  &keep, c.data, problem.result, out.data, problem.result, &problem.algorithm,
                  workspace_, kWorkspaceBytes, stream),
      "a matrix product");
}

}  // namespace tnl::cuda
