#include "backend/cuda/lightning/instances.cuh"
#include "backend/cuda/lightning/sweep.cuh"

namespace tnl::cuda {

SweepFunction sweep256_function(DType dtype, Split split) {
  return instance_of<Sweep256>(dtype, split, []<class T, class Config>(Id<T>, Id<Config>) {
    return sweep_kernel<T, Config>;
  });
}

}  // namespace tnl::cuda
