// What every part of the module uses: errors as Python exceptions, devices, dtypes.
#pragma once

#include <nanobind/nanobind.h>

#include <stdexcept>
#include <string>

#include "tnl/device.h"
#include "tnl/status.h"
#include "tnl/tensor.h"

namespace tnl::python {

namespace nb = nanobind;

// Bad arguments and files become ValueError, a missing file FileNotFoundError, all else
// RuntimeError; the text is the library's sentence.
[[noreturn]] void raise(const Status& status);

inline void check(const Status& status) {
  if (!status.ok()) raise(status);
}
template <class T>
T take(Result<T> result) {
  if (!result.ok()) raise(result.status());
  return std::move(result).value();
}

// `name` as in Device::open; one device for each name and number of threads lives for ever, so that
// calls from PyTorch do not start threads. threads = 0: one for each core.
const Device& device_of(const std::string& name, int threads);

void bind_attention(nb::module_& module);
void bind_session(nb::module_& module);

}  // namespace tnl::python
