#include "backend/cuda/lightning/instances.cuh"
#include "backend/cuda/lightning/mma.cuh"

namespace tnl::cuda {

RowFunction mma64_function(DType dtype, Split split) {
  return instance_of<Mma64>(
      dtype, split, []<class T, class Config>(Id<T>, Id<Config>) { return mma_kernel<T, Config>; });
}

}  // namespace tnl::cuda
