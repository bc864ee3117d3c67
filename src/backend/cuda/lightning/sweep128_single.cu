#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep128_single_function(DType dtype, Split split) {
  return instance_of<Sweep128Single>(dtype, split);
}

}  // namespace tnl::cuda
