// What every part of the module uses: errors as Python exceptions, devices, dtypes.
#pragma once

#include <nanobind/nanobind.h>

#include <mutex>
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

// A device works for one caller at a time.
struct SharedDevice {
  Device device;
  std::recursive_mutex in_use;  // recursive: what a text is emitted to may call again
};

// `name` as in Device::open; one device for each name and number of threads lives for ever, so that
// calls from PyTorch do not start threads. threads = 0: one for each core.
SharedDevice& device_of(const std::string& name, int threads);

// While the library works: other Python threads run, and wait where they want the same device.
class Working {
 public:
  explicit Working(SharedDevice& shared) : lock_(shared.in_use) {}

 private:
  nb::gil_scoped_release release_;  // first, so that whoever waits for the lock holds no GIL
  std::unique_lock<std::recursive_mutex> lock_;
};

void bind_attention(nb::module_& module);
void bind_session(nb::module_& module);

}  // namespace tnl::python
