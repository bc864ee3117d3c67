#include "backend/cuda/lightning/mma_instances.cuh"

namespace tnl::cuda {

RowFunction mma64_function(DType dtype, Split split) {
  return mma_instance_of<Mma64>(dtype, split);
}

}  // namespace tnl::cuda
