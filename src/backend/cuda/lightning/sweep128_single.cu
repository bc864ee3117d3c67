#include "backend/cuda/lightning/instances.cuh"
#include "backend/cuda/lightning/sweep.cuh"

namespace tnl::cuda {

SweepFunction sweep128_single_function(DType dtype, Split split) {
  return instance_of<Sweep128Single>(dtype, split, []<class T, class Config>(Id<T>, Id<Config>) {
    return sweep_kernel<T, Config>;
  });
}

}  // namespace tnl::cuda
