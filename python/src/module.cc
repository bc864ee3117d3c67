// The extension module tnl._core: the operator over raw pointers, and sessions. No PyTorch here:
// python/tnl/ops.py hands over addresses, shapes and strides, so one build serves every release.
#include <nanobind/stl/string.h>

#include <map>
#include <mutex>
#include <utility>

#include "support.h"

namespace tnl::python {

void raise(const Status& status) {
  const nb::gil_scoped_acquire acquire;  // it may have been released for the call that failed
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      throw nb::value_error(status.message().c_str());
    case StatusCode::kNotFound:
      PyErr_SetString(PyExc_FileNotFoundError, status.message().c_str());
      throw nb::python_error();
    case StatusCode::kIo:
      PyErr_SetString(PyExc_OSError, status.message().c_str());
      throw nb::python_error();
    default:
      throw std::runtime_error(status.message());
  }
}

SharedDevice& device_of(const std::string& name, int threads) {
  static std::mutex mutex;
  static auto* const devices = new std::map<std::pair<std::string, int>, SharedDevice>;
  const std::lock_guard lock(mutex);
  const auto key = std::pair(name, threads);
  const auto found = devices->find(key);
  if (found != devices->end()) return found->second;
  Device device = take(Device::open(name, {.threads = threads}));
  return devices->try_emplace(key, std::move(device)).first->second;
}

}  // namespace tnl::python

NB_MODULE(_core, module) {
  nanobind::set_leak_warnings(false);  // graphs of PyTorch that live to the end hold settings
  tnl::python::bind_attention(module);
  tnl::python::bind_session(module);
}
