// Host tensors on any device for the time of one call: on the CPU they are used where they lie, on
// a GPU they are copied there and back.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "attention/attention_case.h"
#include "tnl/device.h"

namespace tnl::test {

// "": none, the tests are skipped with it; else why cuda:0 could not be opened.
const std::string& no_gpu_because();

// The GPU is opened once.
Device open_device(const Variant& variant);

class OnDevice {
 public:
  explicit OnDevice(const Device& device) : device_(device) {}

  // The tensor's view on the device. The tensor has to outlive this.
  TensorView operator()(const Tensor& tensor);
  // A view into a tensor given before.
  TensorView operator()(const TensorView& host) const;
  // i32, one axis, in the device's memory; only read. The values have to outlive this.
  TensorView integers(const std::vector<std::int32_t>& values);
  // Aligned as the operator wants it, filled with NaN.
  void* workspace(std::size_t bytes);
  // Waits for the device and brings every tensor back.
  void fetch();

 private:
  struct Copy {
    std::byte* host;
    std::size_t bytes;
    DeviceBuffer memory;
  };
  const Device& device_;
  std::vector<Copy> copies_;
  std::vector<DeviceBuffer> workspaces_;
};

}  // namespace tnl::test
