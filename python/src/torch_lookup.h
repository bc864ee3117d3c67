// What the package looks up once in torch, and calls of it. Everything here needs the GIL.
#pragma once

#include <array>
#include <initializer_list>
#include <string>

#include "support.h"

namespace tnl::python {

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
inline constexpr DTypeName kDTypes[] = {
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

// What ops.py hands over once: torch itself, what copies a small tensor to the host, and whether to
// look for the exchange table.
void connect_torch(nb::module_ torch, nb::object host_copy, bool exchange);

// RuntimeError before connect_torch().
const Torch& torch();

// names: of the last arguments, which are keywords. What torch raises goes on as it is.
nb::object call(nb::handle function, std::initializer_list<PyObject*> arguments,
                nb::handle names = nb::handle());
nb::object call_method(nb::handle name, nb::handle self);
nb::object attribute(nb::handle object, nb::handle name);
std::string text_of(nb::handle object);

// A ValueError: "name: found .., expected .."
[[noreturn]] void refuse(const char* name, const std::string& found, const std::string& expected);

}  // namespace tnl::python
