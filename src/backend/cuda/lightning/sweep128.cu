#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep128_function(DType dtype, Split split) {
  return instance_of<Sweep128>(dtype, split);
}

}  // namespace tnl::cuda
