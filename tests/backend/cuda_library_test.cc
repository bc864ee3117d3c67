// What is said where the CUDA backend, its driver or a GPU is missing, and memory of every device.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "support/require.h"
#include "support/temporary_directory.h"
#include "tnl/device.h"

namespace tnl::test {
namespace {

constexpr const char* kVariable = "TNL_CUDA_LIBRARY";

// Sets the variable for one test.
class Named {
 public:
  explicit Named(const std::string& path) {
    if (const char* value = std::getenv(kVariable)) before_ = value;
    ::setenv(kVariable, path.c_str(), 1);
  }
  ~Named() {
    if (before_) {
      ::setenv(kVariable, before_->c_str(), 1);
    } else {
      ::unsetenv(kVariable);
    }
  }

 private:
  std::optional<std::string> before_;
};

Status open_error(const char* name) {
  const Result<Device> device = Device::open(name);
  return device.ok() ? Status{} : device.status();
}

TEST(CudaLibrary, NamedButMissing) {
  const Named named("/nowhere/libtnl-cuda.so");
  const Status status = open_error("cuda:0");
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.message(),
            "no GPU: TNL_CUDA_LIBRARY names /nowhere/libtnl-cuda.so, which is no file");
}

TEST(CudaLibrary, NoLibraryAtAll) {
  const TemporaryDirectory directory;
  const std::string path = (directory.path() / "libtnl-cuda.so").string();
  std::ofstream(path) << "text";
  const Named named(path);
  const Status status = open_error("cuda");
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(status.message().starts_with("no GPU: " + path + " cannot be loaded: "))
      << status.message();
}

TEST(CudaLibrary, OfAnotherVersion) {
  Dl_info here{};  // the main library, wherever it lies: it loads, but lacks the entry
  ASSERT_NE(dladdr(reinterpret_cast<const void*>(&dtype_name), &here), 0);
  const std::string path = std::filesystem::absolute(here.dli_fname).string();
  const Named named(path);
  const Status status = open_error("cuda:0");
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(status.message().starts_with("no GPU: " + path + " is of version unknown, expected "))
      << status.message();
}

TEST(CudaLibrary, AutoTakesTheCpuAndSaysWhy) {
  const Named named("/nowhere/libtnl-cuda.so");
  const Device device = take(Device::open("auto", {.threads = 1}));
  EXPECT_EQ(device.properties().kind, DeviceKind::kCpu);
  EXPECT_EQ(device.properties().name, "cpu");
  EXPECT_EQ(device.no_gpu_because(), open_error("cuda:0").message());
  EXPECT_EQ(take(Device::open("cpu")).no_gpu_because(), "");
}

// Whatever this machine lacks, the sentence names it.
TEST(CudaLibrary, AsBuilt) {
  const Status status = open_error("cuda:0");
  if (status.ok()) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(status.message().starts_with("no GPU: ")) << status.message();
}

TEST(CudaLibrary, UnknownNames) {
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0x", "cuda0", ""}) {
    const Status status = open_error(name);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(status.message(), "device: found '" + std::string(name) +
                                    "', expected cpu, cuda, cuda:N, auto or reference");
  }
}

void check_memory(const Device& device, std::size_t too_much) {
  const DeviceBuffer buffer = take(DeviceBuffer::allocate(device, 1000, "a test"));
  EXPECT_EQ(buffer.bytes(), 1000u);
  std::vector<char> bytes(1000, 1), sent(700);
  EXPECT_OK(device.download(bytes.data(), buffer.data(), 1000));
  EXPECT_EQ(bytes, std::vector<char>(1000, 0));
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i);
  EXPECT_OK(device.upload(static_cast<char*>(buffer.data()) + 300, sent.data(), 700));
  EXPECT_OK(device.download(bytes.data(), static_cast<char*>(buffer.data()) + 300, 700));
  EXPECT_TRUE(std::equal(sent.begin(), sent.end(), bytes.begin()));
  EXPECT_OK(device.synchronize());

  DeviceBuffer moved = take(DeviceBuffer::allocate(device, 0, "nothing"));
  EXPECT_EQ(moved.data(), nullptr);
  moved = take(DeviceBuffer::allocate(device, 8, "a test"));
  EXPECT_NE(moved.data(), nullptr);

  const Result<DeviceBuffer> most = DeviceBuffer::allocate(device, too_much, "too much");
  ASSERT_FALSE(most.ok());
  EXPECT_EQ(most.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(most.status().message().find("too much"), std::string::npos);
}

TEST(DeviceMemory, OfTheCpu) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  check_memory(take(Device::open("cpu", {.threads = 1})), kMost);
  check_memory(take(Device::open("reference")), kMost);
}

class GpuDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (!device_.ok()) GTEST_SKIP() << device_.status().message();
  }
  const Result<Device> device_ = Device::open("cuda:0", {.threads = 1});
};

TEST_F(GpuDevice, Memory) {
  check_memory(*device_, std::size_t{1} << 46);
}

TEST_F(GpuDevice, SaysWhatItIs) {
  const DeviceProperties& properties = device_->properties();
  EXPECT_EQ(properties.kind, DeviceKind::kCuda);
  EXPECT_EQ(properties.name, "cuda:0");
  EXPECT_FALSE(properties.gpu.model.empty());
  EXPECT_GE(properties.gpu.capability, 80);
  EXPECT_GT(properties.gpu.multiprocessors, 0);
  EXPECT_GT(properties.gpu.memory_bytes, 0u);
  EXPECT_GT(properties.gpu.bytes_per_second, 1e11);
  EXPECT_EQ(take(Device::open("auto")).properties().name, "cuda:0");
}

TEST_F(GpuDevice, BeyondTheLast) {
  const Status status = open_error("cuda:99");
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(status.message().starts_with("device: found cuda:99, expected cuda:0"))
      << status.message();
}

// The time of a copy is that of the GPU, not of the call.
TEST_F(GpuDevice, TimesItsWork) {
  constexpr std::int64_t kRows = 1 << 12, kCols = 1 << 14;
  const DeviceBuffer from = take(DeviceBuffer::allocate(*device_, 2 * kRows * kCols, "a test"));
  const DeviceBuffer to = take(DeviceBuffer::allocate(*device_, 2 * kRows * kCols, "a test"));
  const auto work = [&] {
    device_->backend().copy(Matrix::contiguous(from.data(), DType::kBF16, kRows, kCols),
                            Matrix::contiguous(to.data(), DType::kBF16, kRows, kCols));
    return Status{};
  };
  for (const bool graph : {false, true}) {
    const double seconds = take(device_->backend().time(work, {.cold = true, .graph = graph}));
    EXPECT_GT(seconds, 4.0 * kRows * kCols / 1e13);
    EXPECT_LT(seconds, 1.0);
  }
}

}  // namespace
}  // namespace tnl::test
