#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep64_single_function(DType dtype, Split split) {
  return instance_of<Sweep64Single>(dtype, split);
}

}  // namespace tnl::cuda
