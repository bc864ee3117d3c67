// Arguments of a call that the host reads.
#include "torch_lookup.h"
#include "torch_tensors.h"

namespace tnl::python {
namespace {

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

}  // namespace tnl::python
