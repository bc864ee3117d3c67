#include "torch_lookup.h"

#include <nanobind/stl/string.h>

#include <stdexcept>
#include <utility>

namespace tnl::python {
namespace {

Torch* connected = nullptr;

const dlpack::Exchange* exchange_of(nb::handle tensor_type) {
  nb::object capsule = nb::getattr(tensor_type, "__dlpack_c_exchange_api__", nb::none());
  if (!PyCapsule_CheckExact(capsule.ptr())) return nullptr;
  auto* table = static_cast<const dlpack::Exchange*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (table == nullptr) PyErr_Clear();
  while (table != nullptr && table->major != 1) table = table->previous;
  return table != nullptr && table->tensor_from_object != nullptr ? table : nullptr;
}

}  // namespace

const Torch& torch() {
  if (connected == nullptr) throw std::runtime_error("tnl._core: import tnl.ops before this call");
  return *connected;
}

nb::object call(nb::handle function, std::initializer_list<PyObject*> arguments, nb::handle names) {
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

std::string text_of(nb::handle object) {
  return nb::cast<std::string>(nb::str(object));
}

void refuse(const char* name, const std::string& found, const std::string& expected) {
  throw nb::value_error(
      (std::string(name) + ": found " + found + ", expected " + expected).c_str());
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

}  // namespace tnl::python
