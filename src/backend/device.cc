#include <sched.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backend/backend.h"
#include "backend/cuda_library.h"
#include "core/try.h"

namespace tnl {

std::vector<std::string> available_cpu_targets() {
  std::vector<std::string> targets;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx2 && avx512) targets.push_back("avx512");
  if (avx2) targets.push_back("avx2");
#endif
  targets.push_back("generic");
  return targets;
}

namespace {

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

// N of "cuda:N", 0 for "cuda", -1 for any other name.
int gpu_index(std::string_view name) {
  if (name == "cuda") return 0;
  constexpr std::string_view kPrefix = "cuda:";
  if (!name.starts_with(kPrefix)) return -1;
  name.remove_prefix(kPrefix.size());
  int index = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  return error == std::errc() && end == name.data() + name.size() ? index : -1;
}

Result<DeviceProperties> cpu_properties(DeviceProperties properties,
                                        const std::string& cpu_target) {
  const std::vector<std::string> targets = available_cpu_targets();
  properties.kind = DeviceKind::kCpu;
  properties.name = "cpu";
  properties.cpu_target = cpu_target.empty() ? targets.front() : cpu_target;
  if (std::find(targets.begin(), targets.end(), properties.cpu_target) == targets.end()) {
    return invalid_argument(fmt::format("CPU target: found '{}', expected one of {}", cpu_target,
                                        fmt::join(targets, ", ")));
  }
  return properties;
}

}  // namespace

Result<Device> Device::open(std::string_view name, const DeviceOptions& options) {
  constexpr int kMostThreads = 1024;
  if (options.threads < 0 || options.threads > kMostThreads) {
    return invalid_argument(fmt::format("threads: found {}, expected 0 (one for each core) to {}",
                                        options.threads, kMostThreads));
  }
  if (options.gpu_compute != DType::kBF16 && options.gpu_compute != DType::kF32) {
    return invalid_argument(
        fmt::format("precision: found {}, expected bf16 or f32", dtype_name(options.gpu_compute)));
  }
  DeviceProperties properties;
  properties.name = name;
  properties.gpu.compute = options.gpu_compute;
  properties.threads = options.threads > 0 ? options.threads : usable_cores();
  if (name == "reference") {
    properties.kind = DeviceKind::kReference;
    properties.threads = 1;
    return Device(std::shared_ptr<Backend>(make_reference_backend(properties)));
  }
  std::string no_gpu_because;
  if (const int index = name == "auto" ? 0 : gpu_index(name); index >= 0) {
    auto gpu = open_cuda_backend(index, properties);
    if (gpu.ok()) return Device(std::shared_ptr<Backend>(std::move(gpu).value()));
    if (name != "auto") return gpu.status();
    no_gpu_because = gpu.status().message();
  } else if (name != "cpu") {
    return invalid_argument(
        fmt::format("device: found '{}', expected cpu, cuda, cuda:N, auto or reference", name));
  }
  TNL_ASSIGN(properties, cpu_properties(properties, options.cpu_target));
  Device device(std::shared_ptr<Backend>(make_cpu_backend(properties)));
  device.no_gpu_because_ = std::move(no_gpu_because);
  return device;
}

const DeviceProperties& Device::properties() const {
  return backend_->properties();
}

Status Device::upload(void* to, const void* from, std::size_t bytes) const {
  return backend_->upload(to, from, bytes);
}

Status Device::download(void* to, const void* from, std::size_t bytes) const {
  return backend_->download(to, from, bytes);
}

Status Device::synchronize() const {
  return backend_->synchronize();
}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) backend_->free(data_);
}

Result<DeviceBuffer> DeviceBuffer::allocate(const Device& device, std::size_t bytes,
                                            const char* purpose) {
  DeviceBuffer buffer;
  TNL_ASSIGN(buffer.data_, device.backend_->allocate(bytes, purpose));
  buffer.backend_ = device.backend_;
  buffer.bytes_ = bytes;
  return buffer;
}

}  // namespace tnl
