// PyTorch's tensors without its headers: through DLPack's exchange table where a release has one
// (2.11 does), through the tensors' Python attributes elsewhere. Everything here needs the GIL.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "support.h"

namespace tnl::python {

// Where a tensor lies.
struct Place {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;  // of a GPU
  bool operator==(const Place&) const = default;
};
std::string describe(Place place);  // "cpu", "cuda:0"

// A tensor of PyTorch and what it holds. The view is good as long as the object lives.
struct TorchTensor {
  nb::object object;  // None: not given
  TensorView view;
  Place place;
  bool given() const { return view.given(); }
};

// Whether these are tensors with memory and nothing but autograd looks on: no transform, no mode,
// no subclass.
bool is_plain(std::initializer_list<nb::handle> tensors);
bool is_tensor(nb::handle object);
bool is_autocast();
bool is_grad_enabled();
// Whether autograd follows what is made of these, backward or in forward mode.
bool is_differentiated(std::initializer_list<nb::handle> tensors);

// None is a tensor that is not given. Errors are ValueErrors that name the argument.
TorchTensor read_tensor(const char* name, nb::handle tensor);
// The same with a last axis without gaps, or without any gaps; copied if it has some.
TorchTensor read_rows(const char* name, nb::handle tensor);
TorchTensor read_contiguous(const char* name, nb::handle tensor);
// A tensor of one axis as one of `dtype` on the host: numbers for f32, whole ones for i64.
TorchTensor read_host(const char* name, nb::handle tensor, DType dtype);

nb::object zeros_like(nb::handle tensor);
// New memory: as `like` in shape, dtype and place; of a shape; bytes, with their address.
TorchTensor new_like(const TorchTensor& like);
std::pair<nb::object, std::uintptr_t> new_bytes(std::int64_t count, Place place);
TorchTensor new_tensor(std::initializer_list<std::int64_t> shape, DType dtype, Place place);

// Numbers the host reads: a tensor of one axis on any device, or a sequence of Python numbers.
std::vector<float> read_decay(nb::handle log_decay);
std::vector<std::int64_t> read_integers(const char* name, nb::handle integers);
double read_number(const char* name, nb::handle number);
bool read_flag(const char* name, nb::handle flag);

// The device of the library for tensors there.
SharedDevice& device_at(Place place);
// The stream of that GPU PyTorch queues its work on.
Stream current_stream(Place place);

// PyTorch keeps one GPU current a thread; the library makes its own current. This puts it back.
class KeepCurrentGpu {
 public:
  explicit KeepCurrentGpu(Place place);
  ~KeepCurrentGpu();
  KeepCurrentGpu(const KeepCurrentGpu&) = delete;
  KeepCurrentGpu& operator=(const KeepCurrentGpu&) = delete;

 private:
  int before_ = -1;
};

}  // namespace tnl::python
