// What a pass reads and writes of each token, and the scale of its loss, in memory of the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/execution.h"
#include "tnl/device.h"

namespace tnl {

class TokenMemory {
 public:
  static std::size_t bytes(std::int64_t tokens);
  // Room for `tokens` tokens.
  static Result<TokenMemory> create(const Device& device, std::int64_t tokens);

  // Targets and mask only where the batch has them.
  Status upload(const TokenBatch& batch, std::span<const std::int64_t> positions,
                double loss_scale);
  const double* loss_scale() const {
    return reinterpret_cast<const double*>(static_cast<const char*>(memory_.data()) +
                                           kPositions * room_);
  }
  std::span<const std::int64_t> positions() const { return piece<std::int64_t>(kPositions); }
  std::span<const std::int32_t> tokens() const { return piece<std::int32_t>(kTokens); }
  std::span<const std::int32_t> targets() const { return piece<std::int32_t>(kTargets); }
  std::span<const std::uint8_t> mask() const {
    return masked_ ? piece<std::uint8_t>(kMask) : std::span<const std::uint8_t>();
  }

  std::span<double> losses() const;
  // losses() to the host, once all queued work is done.
  Status download_losses(std::span<double> to) const;

 private:
  // Offsets for every token of room; the scale is between the losses and the positions.
  static constexpr std::int64_t kLosses = 0, kPositions = 8, kTokens = 16, kTargets = 20,
                                kMask = 24, kBytes = 25;
  static constexpr std::int64_t kScaleBytes = 64;  // a whole line, so that the rest stays aligned

  TokenMemory(const Device& device, std::int64_t room) : device_(device), room_(room) {}
  template <class T>
  std::span<const T> piece(std::int64_t offset) const {
    const char* begin = static_cast<const char*>(memory_.data()) + kScaleBytes + offset * room_;
    return {reinterpret_cast<const T*>(begin), static_cast<std::size_t>(count_)};
  }

  Device device_;
  std::int64_t room_, count_ = 0;
  bool masked_ = false;
  DeviceBuffer memory_;
  std::vector<std::byte> staging_;
};

}  // namespace tnl
