#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep256_function(DType dtype, Split split) {
  return instance_of<Sweep256>(dtype, split);
}

}  // namespace tnl::cuda
