// The tests of this folder take the GPU along where there is one; this one says so where not. What
// only a GPU has: products whose algorithms are chosen at run time, and a count of its memory.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/matmul_choices.h"
#include "core/convert.h"
#include "core/rng.h"
#include "support/require.h"
#include "tnl/device.h"

namespace tnl::test {
namespace {

TEST(GpuBackend, IsAmongTheCandidates) {
  const auto device = Device::open("cuda");
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  EXPECT_EQ(device->backend().compute_dtype(), DType::kBF16);
  EXPECT_EQ(device->backend().sum_dtype(), DType::kF32);
}

TEST(GpuBackend, CountsItsMemory) {
  const auto device = Device::open("cuda");
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  const auto use = [&] { return take(device->backend().memory_use()).value(); };
  const MemoryUse before = use();
  constexpr std::size_t kBytes = std::size_t{256} << 20;
  {
    const DeviceBuffer buffer = take(DeviceBuffer::allocate(*device, kBytes, "a test"));
    EXPECT_EQ(use().allocated, before.allocated + kBytes);
    EXPECT_GE(use().taken, before.taken + kBytes);
    EXPECT_LE(use().free, before.free - kBytes);
  }
  EXPECT_EQ(use().allocated, before.allocated);
}

struct Shape {
  std::int64_t rows, cols, depth;
};
constexpr Shape kShapes[] = {
    {4096, 4096, 1024}, {128, 256, 8192}, {512, 512, 512}, {2048, 128, 256}};

// Bits of C = A Bᵀ for each of the shapes.
std::vector<std::vector<std::uint16_t>> products(const Device& device) {
  Backend& backend = device.backend();
  std::vector<std::vector<std::uint16_t>> results;
  Rng rng(3);
  for (const Shape& shape : kShapes) {
    const auto random = [&](std::int64_t rows, std::int64_t cols, DeviceBuffer& buffer) {
      std::vector<float> values(static_cast<std::size_t>(rows * cols));
      for (float& value : values) value = static_cast<float>(rng.normal());
      std::vector<std::uint16_t> bits(values.size());
      convert(values.data(), DType::kF32, bits.data(), DType::kBF16, rows * cols);
      buffer = take(DeviceBuffer::allocate(device, 2 * bits.size(), "a test"));
      EXPECT_OK(device.upload(buffer.data(), bits.data(), buffer.bytes()));
      return Matrix::contiguous(buffer.data(), DType::kBF16, rows, cols);
    };
    DeviceBuffer a, b, c;
    const Matrix left = random(shape.rows, shape.depth, a),
                 right = random(shape.cols, shape.depth, b);
    const Matrix result = random(shape.rows, shape.cols, c);
    backend.matmul(MatmulForm::kNT, 1, left, right, 0, result);
    results.emplace_back(static_cast<std::size_t>(shape.rows * shape.cols));
    EXPECT_OK(device.download(results.back().data(), c.data(), c.bytes()));
  }
  return results;
}

TEST(GpuMatmulChoices, ComeBeforeTheHeuristic) {
  const auto device = Device::open("cuda");
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  EXPECT_EQ(device->backend().choices(), "");
  const auto bits = products(*device);
  const std::string text = device->backend().choices();
  cuda::MatmulChoices choices = take(cuda::read_choices(text));
  ASSERT_EQ(choices.algorithms.size(), std::size(kShapes));

  const Device same = take(Device::open("cuda"));
  EXPECT_EQ(take(same.backend().adopt_choices(text)), "");
  EXPECT_EQ(products(same), bits);
  EXPECT_EQ(same.backend().choices(), text);

  // Each product gets the algorithm of another: what is adopted counts, not what is best.
  std::set<cuda::MatmulAlgorithm> different;
  cuda::MatmulAlgorithm carried = choices.algorithms.rbegin()->second;
  for (auto& [key, algorithm] : choices.algorithms) {
    std::swap(algorithm, carried);
    different.insert(algorithm);
  }
  ASSERT_GT(different.size(), 1u);
  const std::string turned = cuda::write_choices(choices);
  const Device other = take(Device::open("cuda"));
  EXPECT_EQ(take(other.backend().adopt_choices(turned)), "");
  products(other);
  EXPECT_EQ(other.backend().choices(), turned);
}

TEST(GpuMatmulChoices, WhatCannotBeUsedIsSaid) {
  const auto device = Device::open("cuda");
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  products(*device);
  cuda::MatmulChoices choices = take(cuda::read_choices(device->backend().choices()));
  EXPECT_EQ(device->backend().adopt_choices("nonsense").status().message(),
            "line 1: found 'nonsense', expected 'cublaslt' and its version");
  const std::string version = std::to_string(choices.version);
  ++choices.version;
  EXPECT_EQ(take(device->backend().adopt_choices(cuda::write_choices(choices))),
            "cuBLASLt " + std::to_string(choices.version) + " in place of " + version);
  --choices.version;
  for (auto& [key, algorithm] : choices.algorithms) algorithm.fill(~std::uint64_t{0});
  EXPECT_EQ(take(device->backend().adopt_choices(cuda::write_choices(choices))), "");
  const Shape& shape = kShapes[0];
  const DeviceBuffer memory = take(DeviceBuffer::allocate(
      *device, static_cast<std::size_t>(2 * shape.rows * shape.cols), "a test"));
  const auto matrix = [&](std::int64_t rows, std::int64_t cols) {
    return Matrix::contiguous(memory.data(), DType::kBF16, rows, cols);
  };
  device->backend().matmul(MatmulForm::kNT, 1, matrix(shape.rows, shape.depth),
                           matrix(shape.cols, shape.depth), 0, matrix(shape.rows, shape.cols));
  EXPECT_EQ(device->synchronize().message(),
            "a matrix product of 4096 x 1024 x 4096: cuBLASLt cannot run the algorithm that the "
            "checkpoint names here");
}

}  // namespace
}  // namespace tnl::test
