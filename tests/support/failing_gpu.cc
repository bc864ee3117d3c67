// A library in the place of libtnl-cuda whose GPU is the CPU with faults to order, by variables of
// the environment that are read when it is opened:
//   TNL_TEST_GPU_MEMORY   bytes it has
//   TNL_TEST_GPU_COPIES   copies to the host that succeed before the driver reports an error
//   TNL_TEST_GPU_CHOICE   a word that it chooses at run time, and which must be lower case
//   TNL_TEST_GPU_REPLAYS  recordings that run before the driver reports an error
#include <cctype>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "backend/cuda_library.h"
#include "core/try.h"
#include "support/recording_cpu.h"

namespace tnl::test {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::size_t number(const char* name) {
  const std::string value = variable(name);
  return value.empty() ? std::numeric_limits<std::size_t>::max() : std::stoull(value);
}

class FailingGpu final : public RecordingCpu {
 public:
  explicit FailingGpu(const DeviceProperties& properties) : RecordingCpu(properties) {}

  Result<void*> allocate(std::size_t bytes, const char* purpose) override {
    if (bytes > memory_ - allocated_) {
      return unavailable("out of memory: " + std::to_string(bytes) + " for " + purpose);
    }
    TNL_ASSIGN(void* const data, RecordingCpu::allocate(bytes, purpose));
    allocated_ += bytes;
    bytes_[data] = bytes;
    return data;
  }
  void free(void* data) override {
    if (data != nullptr) allocated_ -= bytes_[data];
    RecordingCpu::free(data);
  }
  Result<std::optional<MemoryUse>> memory_use() override {
    return std::optional(MemoryUse{allocated_, allocated_, memory_ - allocated_});
  }
  Status download(void* to, const void* from, std::size_t bytes) override {
    if (copies_ == 0)
      return internal_error("copying from the GPU: CUDA: unspecified launch failure");
    --copies_;
    return RecordingCpu::download(to, from, bytes);
  }
  Result<std::unique_ptr<Recording>> record(std::function<Status()> work) override {
    TNL_ASSIGN(std::unique_ptr<Recording> recording, RecordingCpu::record(std::move(work)));
    return std::unique_ptr<Recording>(
        std::make_unique<FailingRecording>(std::move(recording), replays_));
  }
  std::string choices() const override { return choice_; }
  Result<std::string> adopt_choices(std::string_view text) override {
    for (const char letter : text) {
      if (std::islower(letter) == 0) return invalid_argument("found no word in lower case");
    }
    if (text.size() > 4) return std::string("longer words");
    choice_ = text;
    return std::string();
  }

 private:
  class FailingRecording final : public Recording {
   public:
    FailingRecording(std::unique_ptr<Recording> recording, std::size_t& left)
        : recording_(std::move(recording)), left_(left) {}
    Status run() override {
      if (left_ == 0) return internal_error("launching a graph: CUDA: unspecified launch failure");
      --left_;
      return recording_->run();
    }

   private:
    std::unique_ptr<Recording> recording_;
    std::size_t& left_;
  };

  std::size_t memory_ = number("TNL_TEST_GPU_MEMORY"), copies_ = number("TNL_TEST_GPU_COPIES");
  std::size_t replays_ = number("TNL_TEST_GPU_REPLAYS");
  std::size_t allocated_ = 0;
  std::map<void*, std::size_t> bytes_;
  std::string choice_ = variable("TNL_TEST_GPU_CHOICE");
};

Result<std::unique_ptr<Backend>> open_failing(int, DeviceProperties properties) {
  properties.name = "cuda:0";
  properties.cpu_target = "generic";
  return std::unique_ptr<Backend>(std::make_unique<FailingGpu>(properties));
}

}  // namespace
}  // namespace tnl::test

extern "C" {
extern const char* const tnl_cuda_interface;
extern const tnl::CudaOpen tnl_cuda_open;
const char* const tnl_cuda_interface = tnl::kCudaInterface;
const tnl::CudaOpen tnl_cuda_open = tnl::test::open_failing;
}
