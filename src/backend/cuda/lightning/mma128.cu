#include "backend/cuda/lightning/mma_instances.cuh"

namespace tnl::cuda {

RowFunction mma128_function(DType dtype, Split split) {
  return mma_instance_of<Mma128>(dtype, split);
}

}  // namespace tnl::cuda
