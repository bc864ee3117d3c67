#include "backend/cuda/lightning/instances.cuh"

namespace tnl::cuda {

SweepFunction sweep64_quad_function(DType dtype, Split split) {
  return instance_of<Sweep64Quad>(dtype, split);
}

}  // namespace tnl::cuda
