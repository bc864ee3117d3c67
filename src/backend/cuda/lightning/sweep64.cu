#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep64_function(DType dtype, Split split) {
  return instance_of<Sweep64>(dtype, split);
}

}  // namespace tnl::cuda
