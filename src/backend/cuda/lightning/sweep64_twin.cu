#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep64_twin_function(DType dtype, Split split) {
  return instance_of<Sweep64Twin>(dtype, split);
}

}  // namespace tnl::cuda
