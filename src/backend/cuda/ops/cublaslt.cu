#include "backend/cuda/ops/cublaslt.h"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/try.h"

namespace tnl::cuda {
namespace {

std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (std::size_t i = 0; i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
  }
  globfree(&found);
  return paths;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

void* open_library(std::string& looked_for) {
  const auto open = [&](const std::string& path) {
    return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  };
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    if (void* handle = open(name); handle != nullptr) return handle;
    looked_for += std::string(looked_for.empty() ? "" : ", ") + name;
  }
  std::vector<std::string> folders;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (!variable(name).empty()) folders.push_back(variable(name) + "/lib64");
  }
  folders.emplace_back("/usr/local/cuda*/lib64");
  folders.emplace_back("/opt/cuda*/lib64");
  std::vector<std::string> prefixes;
  for (const std::string& prefix :
       {variable("VIRTUAL_ENV"), variable("CONDA_PREFIX"), variable("HOME") + "/.local",
        std::string("/usr/local"), std::string("/usr")}) {
    if (prefix.size() < 2) continue;
    for (const char* packages : {"site-packages", "dist-packages"}) {
      for (const char* wheel : {"cu13", "cublas"}) {
        folders.push_back(prefix + "/lib/python3*/" + packages + "/nvidia/" + wheel + "/lib");
      }
    }
  }
  for (const std::string& folder : folders) {
    looked_for += ", " + folder;
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
      for (const std::string& path : matches(folder + "/" + name)) {
        if (void* handle = open(path); handle != nullptr) return handle;
      }
    }
  }
  return nullptr;
}

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

Result<std::shared_ptr<const CublasLt>> CublasLt::load() {
  std::string looked_for;
  void* library = open_library(looked_for);
  if (library == nullptr) {
    return unavailable("cuBLASLt: found no library that loads, expected one of " + looked_for);
  }
  auto lt = std::make_shared<CublasLt>();
  const bool whole = find(library, "cublasLtCreate", lt->create) &&
                     find(library, "cublasLtDestroy", lt->destroy) &&
                     find(library, "cublasLtMatmul", lt->matmul) &&
                     find(library, "cublasLtMatmulAlgoGetHeuristic", lt->heuristic) &&
                     find(library, "cublasLtMatmulAlgoCheck", lt->check) &&
                     find(library, "cublasLtGetVersion", lt->version) &&
                     find(library, "cublasLtMatmulDescCreate", lt->desc_create) &&
                     find(library, "cublasLtMatmulDescDestroy", lt->desc_destroy) &&
                     find(library, "cublasLtMatmulDescSetAttribute", lt->desc_set) &&
                     find(library, "cublasLtMatrixLayoutCreate", lt->layout_create) &&
                     find(library, "cublasLtMatrixLayoutDestroy", lt->layout_destroy) &&
                     find(library, "cublasLtMatmulPreferenceCreate", lt->preference_create) &&
                     find(library, "cublasLtMatmulPreferenceDestroy", lt->preference_destroy) &&
                     find(library, "cublasLtMatmulPreferenceSetAttribute", lt->preference_set) &&
                     find(library, "cublasLtGetStatusString", lt->status_string);
  if (!whole) {
    return unavailable("cuBLASLt: found a library without the functions of CUDA 12 or 13");
  }
  return std::shared_ptr<const CublasLt>(std::move(lt));  // the library stays loaded
}

Status CublasLt::status(cublasStatus_t result, const char* what) const {
  if (result == CUBLAS_STATUS_SUCCESS) return {};
  return internal_error(std::string(what) + ": cuBLASLt: " + status_string(result));
}

}  // namespace tnl::cuda
