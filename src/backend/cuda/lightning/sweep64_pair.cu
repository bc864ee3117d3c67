#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep64_pair_function(DType dtype, Split split) {
  return instance_of<Sweep64Pair>(dtype, split);
}

}  // namespace tnl::cuda
