#include "tnl/bench_limits.h"

#include <algorithm>
#include <vector>

#include "backend/backend.h"
#include "core/convert.h"
#include "core/rng.h"
#include "tnl/cli.h"

namespace tnl::command {
namespace {

// Uniform in [-0.5, 0.5), a million numbers over and over: zeros would cost a GPU less power.
DeviceBuffer random_numbers(const Device& device, DType dtype, std::int64_t elements) {
  std::vector<float> numbers(std::size_t{1} << 20);
  Rng rng(1);
  for (float& number : numbers) number = static_cast<float>(rng.uniform() - 0.5);
  const auto size = static_cast<std::size_t>(dtype_size(dtype));
  std::vector<std::byte> stored(numbers.size() * size);
  convert(numbers.data(), DType::kF32, stored.data(), dtype,
          static_cast<std::int64_t>(numbers.size()));
  const std::size_t bytes = static_cast<std::size_t>(elements) * size;
  DeviceBuffer memory = require(DeviceBuffer::allocate(device, bytes, "a measurement"));
  for (std::size_t done = 0; done < bytes; done += stored.size()) {
    require(device.upload(static_cast<char*>(memory.data()) + done, stored.data(),
                          std::min(stored.size(), bytes - done)));
  }
  return memory;
}

double best_seconds(Backend& backend, const std::function<Status()>& work) {
  constexpr int kRepeats = 5;
  double best = 1e9;
  for (int i = 0; i < kRepeats; ++i) best = std::min(best, require(backend.time(work, {})));
  return best;
}

double matmul_rate(const Device& device, std::int64_t extent) {
  Backend& backend = device.backend();
  const DType dtype = backend.compute_dtype();
  const std::int64_t elements = extent * extent;
  const DeviceBuffer memory = random_numbers(device, dtype, 3 * elements);
  const auto matrix = [&](std::int64_t index) {
    char* const data = static_cast<char*>(memory.data()) + index * elements * dtype_size(dtype);
    return Matrix::contiguous(data, dtype, extent, extent);
  };
  const double seconds = best_seconds(backend, [&]() -> Status {
    backend.matmul(MatmulForm::kNT, 1.0, matrix(0), matrix(1), 0.0, matrix(2));
    return {};
  });
  return 2.0 * static_cast<double>(elements * extent) / seconds;
}

double copy_rate(const Device& device) {
  constexpr std::int64_t kRows = 1024, kCols = 262144;  // half a gigabyte in bf16
  Backend& backend = device.backend();
  const DType dtype = DType::kBF16;
  const DeviceBuffer from = random_numbers(device, dtype, kRows * kCols);
  const DeviceBuffer to = random_numbers(device, dtype, kRows * kCols);
  const double seconds = best_seconds(backend, [&]() -> Status {
    backend.copy(Matrix::contiguous(from.data(), dtype, kRows, kCols),
                 Matrix::contiguous(to.data(), dtype, kRows, kCols));
    return {};
  });
  return 2.0 * static_cast<double>(kRows * kCols * dtype_size(dtype)) / seconds;
}

}  // namespace

DeviceLimits DeviceLimits::best(const DeviceLimits& other) const {
  return {std::max(read, other.read), std::max(copy, other.copy), std::max(matmul, other.matmul)};
}

DeviceLimits measure_limits(const Device& device) {
  const bool on_gpu = device.properties().kind == DeviceKind::kCuda;
  return {.read = require(device.backend().read_bandwidth()),
          .copy = on_gpu ? copy_rate(device) : 0,
          .matmul = matmul_rate(device, on_gpu ? 8192 : 2048)};
}

}  // namespace tnl::command
