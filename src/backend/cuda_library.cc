#include "backend/cuda_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include <fmt/format.h>

#include "backend/backend.h"
#include "core/try.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFile = "libtnl-cuda.so";
constexpr const char* kVariable = "TNL_CUDA_LIBRARY";

// The directory the main library was loaded from; empty if it cannot be told.
fs::path own_directory() {
  Dl_info info{};
  static const char here = 0;
  if (dladdr(&here, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ignored;
  return fs::absolute(info.dli_fname, ignored).parent_path();
}

Result<fs::path> find_library() {
  std::error_code ignored;
  if (const char* named = std::getenv(kVariable); named != nullptr && *named != '\0') {
    if (fs::is_regular_file(named, ignored)) return fs::path(named);
    return unavailable(fmt::format("no GPU: {} names {}, which is no file", kVariable, named));
  }
  const fs::path directory = own_directory();
  if (fs::is_regular_file(directory / kFile, ignored)) return directory / kFile;
  return unavailable(fmt::format(
      "no GPU: this build of tnl has no CUDA backend: there is no {} in {} ({} may name "
      "one elsewhere)",
      kFile, directory.string(), kVariable));
}

// Never unloaded: the backends it makes have their code there.
Result<CudaOpen> load_library(const fs::path& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    return unavailable(fmt::format("no GPU: {} cannot be loaded: {}", path.string(),
                                   reason == nullptr ? "unknown reason" : reason));
  }
  const auto* interface = static_cast<const char* const*>(dlsym(library, "tnl_cuda_interface"));
  if (interface == nullptr || std::strcmp(*interface, kCudaInterface) != 0) {
    return unavailable(fmt::format("no GPU: {} is of version {}, expected {}", path.string(),
                                   interface == nullptr ? "unknown" : *interface, kCudaInterface));
  }
  const auto* open = static_cast<const CudaOpen*>(dlsym(library, "tnl_cuda_open"));
  if (open == nullptr) {
    return unavailable(fmt::format("no GPU: {} exports no tnl_cuda_open", path.string()));
  }
  return *open;
}

}  // namespace

Result<std::unique_ptr<Backend>> open_cuda_backend(int index, const DeviceProperties& properties) {
  TNL_ASSIGN(const fs::path path, find_library());
  TNL_ASSIGN(const CudaOpen open, load_library(path));
  return open(index, properties);
}

}  // namespace tnl
