#include "torch_tensors.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <map>
#include <utility>

#include "torch_lookup.h"

namespace tnl::python {
namespace {

constexpr const char* kExpectedDTypes = "float32, bfloat16, float16 or float64";

[[noreturn]] void refuse_dtype(const char* name, nb::handle tensor, const char* expected) {
  refuse(name, text_of(attribute(tensor, torch().dtype)), expected);
}

// A tensor whose elements are not in plain memory: sparse, nested, quantized, meta, ...
[[noreturn]] void refuse_kind(const char* name, nb::handle tensor) {
  const Torch& t = torch();
  const bool nested = nb::cast<bool>(attribute(tensor, t.is_nested));
  refuse(name,
         "a " + (nested ? "nested" : text_of(attribute(tensor, t.layout))) + " tensor of " +
             text_of(attribute(tensor, t.dtype)) + " on " + text_of(attribute(tensor, t.device)),
         std::string("a strided one of ") + kExpectedDTypes + " on cpu or cuda");
}

void set_rank(const char* name, std::int64_t rank, TensorView& view) {
  if (rank > TensorView::kMaxRank) {
    refuse(name, std::to_string(rank) + " dimensions", "at most 4");
  }
  view.rank = static_cast<int>(rank);
}

void read_exchange(const char* name, TorchTensor& tensor, const char* expected) {
  dlpack::Tensor x;
  if (torch().exchange->tensor_from_object(tensor.object.ptr(), &x) != 0) {
    PyErr_Clear();
    refuse_kind(name, tensor.object);
  }
  if (x.device_type != dlpack::kCpu && x.device_type != dlpack::kCuda) {
    refuse_kind(name, tensor.object);
  }
  tensor.place = {x.device_type == dlpack::kCuda ? DeviceKind::kCuda : DeviceKind::kCpu,
                  x.device_id};
  const DTypeName* found = nullptr;
  for (const DTypeName& dtype : kDTypes) {
    if (dtype.code == x.code && dtype.bits == x.bits && x.lanes == 1) found = &dtype;
  }
  if (found == nullptr) refuse_dtype(name, tensor.object, expected);
  TensorView& view = tensor.view;
  view.data = static_cast<char*>(x.data) + x.byte_offset;
  view.dtype = found->dtype;
  set_rank(name, x.ndim, view);
  for (int i = 0; i < view.rank; ++i) {
    view.shape[i] = x.shape[i];
    view.stride[i] = x.strides[i];
  }
}

void read_attributes(const char* name, TorchTensor& tensor, const char* expected) {
  const Torch& t = torch();
  const nb::object device = attribute(tensor.object, t.device);
  const auto type = nb::cast<std::string>(attribute(device, t.type));
  if (type != "cpu" && type != "cuda") refuse_kind(name, tensor.object);
  tensor.place = {DeviceKind::kCpu, 0};
  if (type == "cuda") {
    tensor.place = {DeviceKind::kCuda, nb::cast<int>(attribute(device, t.index))};
  }
  TensorView& view = tensor.view;
  const nb::object dtype = attribute(tensor.object, t.dtype);
  bool known = false;
  for (std::size_t i = 0; i < std::size(kDTypes); ++i) {
    if (!dtype.is(t.dtypes[i])) continue;
    view.dtype = kDTypes[i].dtype;
    known = true;
  }
  if (!known) refuse_dtype(name, tensor.object, expected);
  nb::object shape, stride, address;
  try {
    shape = attribute(tensor.object, t.shape);
    stride = call_method(t.stride, tensor.object);
    address = call_method(t.data_ptr, tensor.object);
  } catch (const nb::python_error&) {
    refuse_kind(name, tensor.object);
  }
  view.data = reinterpret_cast<void*>(nb::cast<std::uintptr_t>(address));
  set_rank(name, static_cast<std::int64_t>(nb::len(shape)), view);
  for (int i = 0; i < view.rank; ++i) {
    view.shape[i] = nb::cast<std::int64_t>(shape[i]);
    view.stride[i] = nb::cast<std::int64_t>(stride[i]);
  }
}

// Where there are no elements, strides may be anything.
TensorView without_gaps(TensorView view) {
  std::int64_t stride = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    view.stride[axis] = stride;
    stride *= std::max<std::int64_t>(view.shape[axis], 1);
  }
  return view;
}

TorchTensor read(const char* name, nb::object object, const char* expected = kExpectedDTypes) {
  TorchTensor tensor;
  tensor.object = std::move(object);
  if (tensor.object.is_none()) return tensor;
  if (!is_tensor(tensor.object)) {
    refuse(name, std::string("a ") + Py_TYPE(tensor.object.ptr())->tp_name, "a torch.Tensor");
  }
  if (torch().exchange != nullptr) {
    read_exchange(name, tensor, expected);
  } else {
    read_attributes(name, tensor, expected);
  }
  if (tensor.view.rank == 0) refuse(name, "a tensor of no dimensions", "at least 1");
  if (tensor.view.elements() == 0) tensor.view = without_gaps(tensor.view);
  return tensor;
}

bool has_rows(const TensorView& view) {
  return view.rank == 0 || view.shape[view.rank - 1] <= 1 || view.stride[view.rank - 1] == 1;
}

bool is_contiguous(const TensorView& view) {
  std::int64_t expected = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    if (view.shape[axis] == 0) return true;
    if (view.shape[axis] > 1 && view.stride[axis] != expected) return false;
    expected *= view.shape[axis];
  }
  return true;
}

nb::object dtype_object(DType dtype) {
  for (std::size_t i = 0; i < std::size(kDTypes); ++i) {
    if (kDTypes[i].dtype == dtype) return torch().dtypes[i];
  }
  return nb::none();
}

}  // namespace

std::string describe(Place place) {
  return place.kind == DeviceKind::kCuda ? "cuda:" + std::to_string(place.index) : "cpu";
}

bool is_tensor(nb::handle object) {
  const int found = PyObject_IsInstance(object.ptr(), torch().tensor_type.ptr());
  if (found < 0) throw nb::python_error();
  return found == 1;
}

bool is_plain(std::initializer_list<nb::handle> tensors) {
  const Torch& t = torch();
  for (const nb::handle x : tensors) {
    const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(x.ptr()));
    if (type != t.tensor_type.ptr() && type != t.parameter_type.ptr()) return false;
    if (attribute(x, t.is_meta).is(Py_True)) return false;
  }
  return call(t.transforms, {}).is_none() && nb::cast<int>(call(t.dispatch_modes, {})) == 0;
}

bool is_autocast() {
  return call(torch().autocast, {}).is(Py_True);
}

bool is_grad_enabled() {
  return call(torch().grad_enabled, {}).is(Py_True);
}

bool is_differentiated(std::initializer_list<nb::handle> tensors) {
  const Torch& t = torch();
  if (nb::cast<int>(attribute(t.forward_mode, t.current_level)) >= 0) return true;
  if (!is_grad_enabled()) return false;
  for (const nb::handle x : tensors) {
    if (attribute(x, t.requires_grad).is(Py_True)) return true;
  }
  return false;
}

nb::object zeros_like(nb::handle tensor) {
  const Torch& t = torch();
  return call(t.zeros_like, {tensor.ptr(), t.contiguous_format.ptr()}, t.names_empty_like);
}

TorchTensor read_tensor(const char* name, nb::handle tensor) {
  return read(name, nb::borrow(tensor));
}

TorchTensor read_rows(const char* name, nb::handle tensor) {
  TorchTensor x = read(name, nb::borrow(tensor));
  if (has_rows(x.view)) return x;
  return read(name, call_method(torch().contiguous, tensor));
}

TorchTensor read_contiguous(const char* name, nb::handle tensor) {
  TorchTensor x = read(name, nb::borrow(tensor));
  if (is_contiguous(x.view)) return x;
  return read(name, call_method(torch().contiguous, tensor));
}

TorchTensor read_host(const char* name, nb::handle tensor, DType dtype) {
  constexpr const char* kIntegers = "int64 or int32";
  const char* const expected = dtype == DType::kI64 ? kIntegers : kExpectedDTypes;
  TorchTensor x = read(name, nb::borrow(tensor), expected);
  if (x.view.rank != 1) refuse(name, std::to_string(x.view.rank) + " dimensions", "1");
  const bool integers = x.view.dtype == DType::kI64 || x.view.dtype == DType::kI32;
  if (dtype == DType::kI64 && !integers) {
    refuse_dtype(name, tensor, expected);
  }
  if (x.place.kind == DeviceKind::kCpu && x.view.dtype == dtype && is_contiguous(x.view)) return x;
  return read(name, call(torch().host_copy, {tensor.ptr(), dtype_object(dtype).ptr()}));
}

TorchTensor new_like(const TorchTensor& like) {
  const Torch& t = torch();
  if (is_contiguous(like.view)) return read("", call(t.empty_like, {like.object.ptr()}));
  return read(
      "", call(t.empty_like, {like.object.ptr(), t.contiguous_format.ptr()}, t.names_empty_like));
}

TorchTensor new_tensor(std::initializer_list<std::int64_t> shape, DType dtype, Place place) {
  const Torch& t = torch();
  nb::object sizes = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
  Py_ssize_t at = 0;
  for (const std::int64_t size : shape) {
    PyTuple_SET_ITEM(sizes.ptr(), at++, PyLong_FromLongLong(size));
  }
  nb::object device = t.cpu;
  if (place.kind == DeviceKind::kCuda) device = nb::str(describe(place).c_str());
  return read("",
              call(t.empty, {sizes.ptr(), dtype_object(dtype).ptr(), device.ptr()}, t.names_empty));
}

std::pair<nb::object, std::uintptr_t> new_bytes(std::int64_t count, Place place) {
  // A method of a tensor there takes half the time of torch.empty with its keywords.
  static auto& tensors = *new std::map<int, nb::object>;  // the interpreter goes first
  const int key = place.kind == DeviceKind::kCuda ? place.index : -1;
  nb::object& there = tensors[key];
  if (!there.is_valid()) there = new_tensor({1}, DType::kU8, place).object;
  const nb::object size = nb::steal(PyLong_FromLongLong(count));
  PyObject* arguments[] = {there.ptr(), size.ptr()};
  PyObject* bytes = PyObject_VectorcallMethod(torch().new_empty.ptr(), arguments, 2, nullptr);
  if (bytes == nullptr) throw nb::python_error();
  TorchTensor memory = read("", nb::steal(bytes));
  return {std::move(memory.object), reinterpret_cast<std::uintptr_t>(memory.view.data)};
}

SharedDevice& device_at(Place place) {
  const int threads = place.kind == DeviceKind::kCpu ? nb::cast<int>(call(torch().threads, {})) : 0;
  return device_of(describe(place), threads);
}

Stream current_stream(Place place) {
  if (place.kind != DeviceKind::kCuda) return {};
  void* stream = nullptr;
  const Torch& t = torch();
  if (t.exchange != nullptr && t.exchange->current_work_stream != nullptr) {
    if (t.exchange->current_work_stream(dlpack::kCuda, place.index, &stream) != 0) {
      throw nb::python_error();
    }
  } else {
    const nb::object index = nb::steal(PyLong_FromLong(place.index));
    stream = reinterpret_cast<void*>(nb::cast<std::uintptr_t>(call(t.raw_stream, {index.ptr()})));
  }
  return Stream::of(stream);
}

KeepCurrentGpu::KeepCurrentGpu(Place place) {
  if (place.kind != DeviceKind::kCuda) return;
  const int current = nb::cast<int>(call(torch().get_gpu, {}));
  if (current != place.index) before_ = current;
}

KeepCurrentGpu::~KeepCurrentGpu() {
  if (before_ < 0) return;
  PyObject* index = PyLong_FromLong(before_);
  Py_XDECREF(PyObject_CallOneArg(torch().set_gpu.ptr(), index));
  Py_XDECREF(index);
  PyErr_Clear();
}

}  // namespace tnl::python
