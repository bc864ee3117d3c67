// Where the work runs. A Device owns its threads (or its GPU context); pass it to what needs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tnl/status.h"
#include "tnl/tensor.h"

namespace tnl {

class Backend;

enum class DeviceKind { kCpu, kReference, kCuda };

// Limits of a GPU. The defaults are those of one H100.
struct GpuProperties {
  int index = 0;           // of cuda:N
  std::string model = {};  // as the driver names it
  int capability = 90;     // 10 * major + minor
  int multiprocessors = 132;
  std::size_t shared_per_block = 232448;
  std::size_t shared_per_multiprocessor = 233472;
  std::size_t memory_bytes = 0;
  // Of a copy, counting what is read and what is written; derived from the memory's clock and
  // width.
  double bytes_per_second = 2.95e12;
  DType compute = DType::kBF16;  // of activations
};

// What plan() may look at. Plain data, so that plans for a device can be tested without it.
struct DeviceProperties {
  DeviceKind kind = DeviceKind::kCpu;
  std::string name;        // "cpu", "reference" or "cuda:N"
  std::string cpu_target;  // "avx512", "avx2" or "generic"
  int threads = 1;
  GpuProperties gpu = {};  // of kCuda
};

struct DeviceOptions {
  int threads = 0;              // 0: one for each core the process may use
  std::string cpu_target = {};  // empty: the best this machine has
  // A model's activations and matrix products on a GPU: bf16, or f32 without its tensor cores.
  // Sums, states and optimiser are f32 in both.
  DType gpu_compute = DType::kBF16;
};

// A queue of a GPU's work, which is done in order. Default-constructed: the device's own.
struct Stream {
  void* handle = nullptr;  // a cudaStream_t of the device
  bool own = true;         // the device's own; handle is not looked at

  // nullptr is CUDA's default stream. The stream stays the caller's.
  static Stream of(void* cuda_stream) { return {cuda_stream, false}; }
};

class Device {
 public:
  // name: "cpu" (fp32 arithmetic, SIMD); "reference" (fp64, plain loops, for tests); "cuda:N" or
  // "cuda", the same as "cuda:0" (GPU N); or "auto", the first GPU if it can be opened, else the
  // CPU. An unknown name or a target this machine lacks is an error that lists what there is; a GPU
  // that cannot be opened is kUnavailable with a sentence that says what is missing.
  static Result<Device> open(std::string_view name, const DeviceOptions& options = {});

  const DeviceProperties& properties() const;
  // Where "auto" took the CPU: why not a GPU. Else empty.
  const std::string& no_gpu_because() const { return no_gpu_because_; }
  Backend& backend() const { return *backend_; }

  // Copies between the host and the device's memory, after all that was queued on the device's own
  // stream; they return when done. On the CPU both sides are host memory.
  Status upload(void* to, const void* from, std::size_t bytes) const;
  Status download(void* to, const void* from, std::size_t bytes) const;
  // Returns when all work of the device is done, with the first error it met.
  Status synchronize() const;

 private:
  friend class DeviceBuffer;
  explicit Device(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}
  std::shared_ptr<Backend> backend_;
  std::string no_gpu_because_;
};

// Memory of a device, zeroed, aligned to 256 bytes on a GPU and to 64 on the CPU, freed with its
// owner. It keeps the device alive.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer();

  // purpose: what it is for, named where there is too little memory.
  static Result<DeviceBuffer> allocate(const Device& device, std::size_t bytes,
                                       const char* purpose);

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Backend> backend_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// The CPU targets this machine can run, best first. "generic" is always there.
std::vector<std::string> available_cpu_targets();

}  // namespace tnl
