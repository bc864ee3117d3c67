#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep128_pair_function(DType dtype, Split split) {
  return instance_of<Sweep128Pair>(dtype, split);
}

}  // namespace tnl::cuda
