#include "model/token_memory.h"

#include <cstring>

#include "core/check.h"
#include "core/try.h"

namespace tnl {
namespace {

// Every array begins at its alignment.
std::int64_t rounded(std::int64_t tokens) {
  return (tokens + 7) / 8 * 8;
}

}  // namespace

Result<TokenMemory> TokenMemory::create(const Device& device, std::int64_t tokens) {
  TokenMemory made(device, rounded(tokens));
  TNL_ASSIGN(made.memory_, DeviceBuffer::allocate(device, bytes(tokens), "token ids and losses"));
  made.staging_.resize(bytes(tokens));
  return made;
}

std::size_t TokenMemory::bytes(std::int64_t tokens) {
  return static_cast<std::size_t>(rounded(tokens) * kBytes + kScaleBytes);
}

// One copy for all of it; where little of the room is used, only as far as that reaches.
Status TokenMemory::upload(const TokenBatch& batch, std::span<const std::int64_t> positions,
                           double loss_scale) {
  count_ = static_cast<std::int64_t>(batch.tokens.size());
  masked_ = !batch.mask.empty();
  TNL_CHECK(count_ <= room_ && positions.size() == batch.tokens.size());
  const auto put = [&](std::int64_t offset, const auto& values) {
    if (!values.empty()) {
      std::memcpy(staging_.data() + kScaleBytes + offset * room_, values.data(),
                  values.size_bytes());
    }
  };
  const std::int64_t first = kPositions * room_;
  std::memcpy(staging_.data() + first, &loss_scale, sizeof(loss_scale));
  put(kPositions, positions);
  put(kTokens, batch.tokens);
  put(kTargets, batch.targets);
  put(kMask, batch.mask);
  const std::int64_t end =
      kScaleBytes +
      (masked_ ? kMask * room_ + count_
               : kTargets * room_ + static_cast<std::int64_t>(batch.targets.size_bytes()));
  return device_.upload(static_cast<char*>(memory_.data()) + first, staging_.data() + first,
                        static_cast<std::size_t>(end - first));
}

std::span<double> TokenMemory::losses() const {
  return {static_cast<double*>(memory_.data()), static_cast<std::size_t>(count_)};
}

Status TokenMemory::download_losses(std::span<double> to) const {
  TNL_CHECK(static_cast<std::int64_t>(to.size()) == count_);
  return device_.download(to.data(), memory_.data(), to.size_bytes());
}

}  // namespace tnl
