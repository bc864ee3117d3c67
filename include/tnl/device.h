// Where the work runs. A Device owns its threads (or its GPU context); pass it to what needs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tnl/status.h"

namespace tnl {

class Backend;

enum class DeviceKind { kCpu, kReference };

// What plan() may look at. Plain data, so that plans for a device can be tested without it.
struct DeviceProperties {
  DeviceKind kind = DeviceKind::kCpu;
  std::string name;        // "cpu" or "reference"
  std::string cpu_target;  // "avx512", "avx2" or "generic"
  int threads = 1;
};

struct DeviceOptions {
  int threads = 0;              // 0: one for each core the process may use
  std::string cpu_target = {};  // empty: the best this machine has
};

class Device {
 public:
  // name: "cpu" (fp32 arithmetic, SIMD) or "reference" (fp64, plain loops, for tests). An unknown
  // name or a target this machine lacks is an error that lists what there is.
  static Result<Device> open(std::string_view name, const DeviceOptions& options = {});

  const DeviceProperties& properties() const;
  Backend& backend() const { return *backend_; }

 private:
  explicit Device(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}
  std::shared_ptr<Backend> backend_;
};

// The CPU targets this machine can run, best first. "generic" is always there.
std::vector<std::string> available_cpu_targets();

}  // namespace tnl
