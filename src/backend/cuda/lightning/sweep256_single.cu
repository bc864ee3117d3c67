#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep256_single_function(DType dtype, Split split) {
  return instance_of<Sweep256Single>(dtype, split);
}

}  // namespace tnl::cuda
