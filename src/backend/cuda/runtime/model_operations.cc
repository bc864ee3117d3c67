// The operations of the model beside attention: none yet. Model::load and Model::create refuse a
// GPU, so nothing calls them.
#include "backend/cuda/runtime/cuda_backend.h"
#include "core/check.h"

namespace tnl {

void CudaBackend::matmul(MatmulForm, double, const Matrix&, const Matrix&, double, const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::embed(const Matrix&, std::span<const std::int32_t>, double, const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::embed_backward(const Matrix&, std::span<const std::int32_t>, double, std::int64_t,
                                 const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::srmsnorm(const Matrix&, double, const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::srmsnorm_backward(const Matrix&, const Matrix&, double, bool, const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::split(const SplitArgs&) {
  TNL_CHECK(false);
}
void CudaBackend::split_backward(const SplitArgs&, const Matrix&, const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::norm_gate(GateKind, const Matrix&, const Matrix&, double, const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::norm_gate_backward(GateKind, const Matrix&, const Matrix&, const Matrix&, double,
                                     const Matrix&, const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::product(const Matrix&, const Matrix&, const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::product_backward(const Matrix&, const Matrix&, const Matrix&, const Matrix&,
                                   const Matrix&) {
  TNL_CHECK(false);
}
void CudaBackend::cross_entropy(const Matrix&, std::span<const std::int32_t>, double,
                                std::span<double>) {
  TNL_CHECK(false);
}
void CudaBackend::adamw(const AdamWArgs&) {
  TNL_CHECK(false);
}
double CudaBackend::sum_of_squares(std::span<const float>) {
  TNL_CHECK(false);
  return 0;
}

}  // namespace tnl
