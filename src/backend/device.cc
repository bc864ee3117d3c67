#include <sched.h>

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backend/backend.h"

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

}  // namespace

Result<Device> Device::open(std::string_view name, const DeviceOptions& options) {
  constexpr int kMostThreads = 1024;
  if (options.threads < 0 || options.threads > kMostThreads) {
    return invalid_argument(fmt::format("threads: found {}, expected 0 (one for each core) to {}",
                                        options.threads, kMostThreads));
  }
  DeviceProperties properties;
  properties.name = name;
  properties.threads = options.threads > 0 ? options.threads : usable_cores();
  if (name == "reference") {
    properties.kind = DeviceKind::kReference;
    properties.threads = 1;
    return Device(std::shared_ptr<Backend>(make_reference_backend(properties)));
  }
  if (name != "cpu") {
    return invalid_argument(fmt::format("device: found '{}', expected cpu or reference", name));
  }
  const std::vector<std::string> targets = available_cpu_targets();
  properties.cpu_target = options.cpu_target.empty() ? targets.front() : options.cpu_target;
  if (std::find(targets.begin(), targets.end(), properties.cpu_target) == targets.end()) {
    return invalid_argument(fmt::format("CPU target: found '{}', expected one of {}",
                                        options.cpu_target, fmt::join(targets, ", ")));
  }
  return Device(std::shared_ptr<Backend>(make_cpu_backend(properties)));
}

const DeviceProperties& Device::properties() const {
  return backend_->properties();
}

}  // namespace tnl
