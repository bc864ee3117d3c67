#include "attention/on_device.h"

#include <optional>

#include "support/require.h"

namespace tnl::test {
namespace {

const Result<Device>& gpu() {
  static const Result<Device> device = Device::open("cuda:0", {.threads = 1});
  return device;
}

}  // namespace

const std::string& no_gpu_because() {
  return gpu().status().message();
}

Device open_device(const Variant& variant) {
  if (variant.on_gpu) return take(gpu());
  return take(Device::open("cpu", {.threads = variant.threads}));
}

TensorView OnDevice::operator()(const Tensor& tensor) {
  if (device_.properties().kind != DeviceKind::kCuda) return tensor.view();
  const auto [host, bytes] = tensor.memory();
  Copy copy{host, bytes, take(DeviceBuffer::allocate(device_, bytes, "test tensor"))};
  EXPECT_OK(device_.upload(copy.memory.data(), host, bytes));
  copies_.push_back(std::move(copy));
  return (*this)(tensor.view());
}

TensorView OnDevice::operator()(const TensorView& host) const {
  if (device_.properties().kind != DeviceKind::kCuda) return host;
  const auto* data = static_cast<const std::byte*>(host.data);
  for (const Copy& copy : copies_) {
    if (data < copy.host || data > copy.host + copy.bytes) continue;
    TensorView view = host;
    view.data = static_cast<std::byte*>(copy.memory.data()) + (data - copy.host);
    return view;
  }
  ADD_FAILURE() << "a view into no tensor of this device";
  return {};
}

TensorView OnDevice::integers(const std::vector<std::int32_t>& values) {
  const auto count = static_cast<std::int64_t>(values.size());
  auto* data = const_cast<std::int32_t*>(values.data());
  TensorView view = TensorView::contiguous(data, DType::kI32, {count});
  if (device_.properties().kind == DeviceKind::kCuda) {
    const std::size_t bytes = values.size() * sizeof(std::int32_t);
    workspaces_.push_back(take(DeviceBuffer::allocate(device_, bytes, "test tensor")));
    EXPECT_OK(device_.upload(workspaces_.back().data(), data, bytes));
    view.data = workspaces_.back().data();
  }
  return view;
}

void* OnDevice::workspace(std::size_t bytes) {
  workspaces_.push_back(take(DeviceBuffer::allocate(device_, bytes, "workspace")));
  const std::vector<std::byte> nan(bytes, std::byte{0xff});
  EXPECT_OK(device_.upload(workspaces_.back().data(), nan.data(), bytes));
  return workspaces_.back().data();
}

void OnDevice::fetch() {
  EXPECT_OK(device_.synchronize());
  for (const Copy& copy : copies_) {
    EXPECT_OK(device_.download(copy.host, copy.memory.data(), copy.bytes));
  }
}

}  // namespace tnl::test
