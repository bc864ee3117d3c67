// What a pass reads and writes of each token, in memory of the device.
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

  // Targets and mask only where the batch has them. Not waiting: for work on the device's own
  // stream.
  Status upload(const TokenBatch& batch, std::span<const std::int64_t> positions, bool wait);
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
  // Offsets for every token of room.
  static constexpr std::int64_t kLosses = 0, kPositions = 8, kTokens = 16, kTargets = 20,
                                kMask = 24, kBytes = 25;

  TokenMemory(const Device& device, std::int64_t room) : device_(device), room_(room) {}
  template <class T>
  std::span<const T> piece(std::int64_t offset) const {
    const char* begin = static_cast<const char*>(memory_.data()) + offset * room_;
    return {reinterpret_cast<const T*>(begin), static_cast<std::size_t>(count_)};
  }

  Device device_;
  std::int64_t room_, count_ = 0;
  bool masked_ = false;
  DeviceBuffer memory_;
  std::vector<std::byte> staging_;
};

}  // namespace tnl
