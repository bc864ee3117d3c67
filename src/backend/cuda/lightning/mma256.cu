#include "backend/cuda/lightning/mma_instances.cuh"

namespace tnl::cuda {

RowFunction mma256_function(DType dtype, Split split) {
  return mma_instance_of<Mma256>(dtype, split);
}

}  // namespace tnl::cuda
