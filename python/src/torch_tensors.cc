#include "torch_tensors.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <utility>

namespace tnl::python {

namespace {

// DLPack's tables, as its C interface fixes them (major version 1).
namespace dlpack {

constexpr int kCpu = 1, kCuda = 2;
enum Code : std::uint8_t { kInt = 0, kFloat = 2, kBfloat = 4 };

struct Tensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t ndim;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  std::int64_t *shape, *strides;
  std::uint64_t byte_offset;
};

struct Exchange {
  std::uint32_t major, minor;
  Exchange* previous;
  void* allocate;
  void* managed_from_object;
  void* managed_to_object;
  int (*tensor_from_object)(void* object, Tensor* tensor);
  int (*current_work_stream)(std::int32_t device_type, std::int32_t device_id, void** stream);
};

}  // namespace dlpack

struct DTypeName {
  DType dtype;
  const char* name;
  std::uint8_t code, bits;
};
constexpr DTypeName kDTypes[] = {
    {DType::kF32, "float32", dlpack::kFloat, 32}, {DType::kBF16, "bfloat16", dlpack::kBfloat, 16},
    {DType::kF16, "float16", dlpack::kFloat, 16}, {DType::kF64, "float64", dlpack::kFloat, 64},
    {DType::kI64, "int64", dlpack::kInt, 64},     {DType::kI32, "int32", dlpack::kInt, 32},
    {DType::kU8, "uint8", dlpack::kInt + 1, 8},
};

// What is looked up once in torch. It lives as long as the process.
struct Torch {
  nb::object tensor_type, parameter_type, host_copy;
  nb::object empty, empty_like, zeros_like, contiguous_format;
  nb::object autocast, grad_enabled, forward_mode, current_level;
  nb::object dispatch_modes, transforms, threads;
  nb::object raw_stream, get_gpu, set_gpu;  // None in a build for the CPU alone
  std::array<nb::object, std::size(kDTypes)> dtypes;
  nb::object names_empty, names_empty_like;  // of keyword arguments
  nb::object data_ptr, shape, stride, dtype, device, type, index, contiguous, requires_grad;
  nb::object layout, is_nested, is_meta, new_empty;
  nb::object cpu;
  const dlpack::Exchange* exchange = nullptr;
};

Torch* connected = nullptr;

const Torch& torch() {
  if (connected == nullptr) throw std::runtime_error("tnl._core: import tnl.ops before this call");
  return *connected;
}

nb::object call(nb::handle function, std::initializer_list<PyObject*> arguments,
                nb::handle names = nb::handle()) {
  const std::size_t named = names.is_valid() ? nb::len(names) : 0;
  PyObject* result =
      PyObject_Vectorcall(function.ptr(), arguments.begin(), arguments.size() - named, names.ptr());
  if (result == nullptr) throw nb::python_error();
  return nb::steal(result);
}

nb::object call_method(nb::handle name, nb::handle self) {
  PyObject* arguments[] = {self.ptr()};
  PyObject* result = PyObject_VectorcallMethod(name.ptr(), arguments, 1, nullptr);
  if (result == nullptr) throw nb::python_error();
  return nb::steal(result);
}

nb::object attribute(nb::handle object, nb::handle name) {
  PyObject* result = PyObject_GetAttr(object.ptr(), name.ptr());
  if (result == nullptr) throw nb::python_error();
  return nb::steal(result);
}

const dlpack::Exchange* exchange_of(nb::handle tensor_type) {
  nb::object capsule = nb::getattr(tensor_type, "__dlpack_c_exchange_api__", nb::none());
  if (!PyCapsule_CheckExact(capsule.ptr())) return nullptr;
  auto* table = static_cast<const dlpack::Exchange*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (table == nullptr) PyErr_Clear();
  while (table != nullptr && table->major != 1) table = table->previous;
  return table != nullptr && table->tensor_from_object != nullptr ? table : nullptr;
}

std::string text_of(nb::handle object) {
  return nb::cast<std::string>(nb::str(object));
}

[[noreturn]] void refuse(const char* name, const std::string& found, const std::string& expected) {
  throw nb::value_error(
      (std::string(name) + ": found " + found + ", expected " + expected).c_str());
}

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

// A tensor of one axis on the host, of `dtype`.
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

nb::object sequence_of(const char* name, nb::handle object, const char* expected) {
  PyObject* items = nullptr;
  if (!PyUnicode_Check(object.ptr())) items = PySequence_Fast(object.ptr(), "");
  if (items == nullptr) {
    PyErr_Clear();
    refuse(name, std::string("a ") + Py_TYPE(object.ptr())->tp_name, expected);
  }
  return nb::steal(items);
}

}  // namespace

std::string describe(Place place) {
  return place.kind == DeviceKind::kCuda ? "cuda:" + std::to_string(place.index) : "cpu";
}

void connect_torch(nb::module_ module, nb::object host_copy, bool exchange) {
  static Torch& t = *new Torch;  // never torn down: the interpreter goes first
  const nb::object c = module.attr("_C");
  t.tensor_type = module.attr("Tensor");
  t.parameter_type = module.attr("nn").attr("Parameter");
  t.host_copy = std::move(host_copy);
  t.empty = module.attr("empty");
  t.empty_like = module.attr("empty_like");
  t.zeros_like = module.attr("zeros_like");
  t.autocast = c.attr("_is_any_autocast_enabled");
  t.grad_enabled = module.attr("is_grad_enabled");
  t.forward_mode = module.attr("autograd").attr("forward_ad");
  t.contiguous_format = module.attr("contiguous_format");
  t.dispatch_modes = c.attr("_len_torch_dispatch_stack");
  t.transforms = c.attr("_functorch").attr("peek_interpreter_stack");
  t.threads = module.attr("get_num_threads");
  t.raw_stream = nb::getattr(c, "_cuda_getCurrentRawStream", nb::none());
  t.get_gpu = nb::getattr(c, "_cuda_getDevice", nb::none());
  t.set_gpu = nb::getattr(c, "_cuda_setDevice", nb::none());
  for (std::size_t i = 0; i < std::size(kDTypes); ++i) {
    t.dtypes[i] = module.attr(kDTypes[i].name);
  }
  t.names_empty = nb::make_tuple("dtype", "device");
  t.names_empty_like = nb::make_tuple("memory_format");
  const auto name = [](const char* text) { return nb::steal(PyUnicode_InternFromString(text)); };
  t.data_ptr = name("data_ptr");
  t.shape = name("shape");
  t.stride = name("stride");
  t.dtype = name("dtype");
  t.device = name("device");
  t.type = name("type");
  t.index = name("index");
  t.contiguous = name("contiguous");
  t.requires_grad = name("requires_grad");
  t.current_level = name("_current_level");
  t.new_empty = name("new_empty");
  t.layout = name("layout");
  t.is_nested = name("is_nested");
  t.is_meta = name("is_meta");
  t.cpu = module.attr("device")("cpu");
  if (exchange) t.exchange = exchange_of(t.tensor_type);
  connected = &t;
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

std::vector<float> read_decay(nb::handle log_decay) {
  if (is_tensor(log_decay)) {
    if (nb::cast<bool>(attribute(log_decay, torch().requires_grad))) {
      throw nb::value_error(
          "log_decay: found a tensor that requires a gradient, expected one that does not: the "
          "decay is not differentiable here (detach it)");
    }
    const TorchTensor x = read_host("log_decay", log_decay, DType::kF32);
    const auto* values = static_cast<const float*>(x.view.data);
    return {values, values + x.view.shape[0]};
  }
  constexpr const char* kExpected = "a tensor [H] or a sequence of H numbers, one for each head";
  const nb::object items = sequence_of("log_decay", log_decay, kExpected);
  std::vector<float> values;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.ptr()); ++i) {
    const double value = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(items.ptr(), i));
    if (value == -1.0 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      refuse("log_decay", "an element that is no number", kExpected);
    }
    values.push_back(static_cast<float>(value));
  }
  return values;
}

std::vector<std::int64_t> read_integers(const char* name, nb::handle integers) {
  if (integers.is_none()) return {};
  constexpr const char* kExpected = "integers, as a tensor of one axis or a sequence";
  if (is_tensor(integers)) {
    const TorchTensor x = read_host(name, integers, DType::kI64);
    const auto* values = static_cast<const std::int64_t*>(x.view.data);
    return {values, values + x.view.shape[0]};
  }
  const nb::object items = sequence_of(name, integers, kExpected);
  std::vector<std::int64_t> values;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.ptr()); ++i) {
    const std::int64_t value = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(items.ptr(), i));
    if (value == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      refuse(name, "an element that is no integer of 64 bits", kExpected);
    }
    values.push_back(value);
  }
  return values;
}

double read_number(const char* name, nb::handle number) {
  const double value = PyFloat_AsDouble(number.ptr());
  if (value != -1.0 || PyErr_Occurred() == nullptr) return value;
  PyErr_Clear();
  refuse(name, std::string("a ") + Py_TYPE(number.ptr())->tp_name, "a number");
}

bool read_flag(const char* name, nb::handle flag) {
  if (PyBool_Check(flag.ptr()) || PyLong_Check(flag.ptr())) return nb::cast<bool>(nb::bool_(flag));
  refuse(name, std::string("a ") + Py_TYPE(flag.ptr())->tp_name, "True or False");
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
