#include "backend/cuda/lightning/instances.cuh"
#include "backend/cuda/lightning/mma.cuh"

namespace tnl::cuda {

RowFunction mma128_function(DType dtype, Split split) {
  return instance_of<Mma128>(
      dtype, split, []<class T, class Config>(Id<T>, Id<Config>) { return mma_kernel<T, Config>; });
}

}  // namespace tnl::cuda
