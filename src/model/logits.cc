// A step, one token of each text, which is recorded, and how logits come to the host.
#include <algorithm>
#include <cstddef>
#include <functional>

#include "core/convert.h"
#include "core/try.h"
#include "model/execution_impl.h"

namespace tnl {

// One token of each text is the same work every time.
Status Execution::Impl::step(const TokenBatch& batch, const StateLinks& links,
                             std::span<float> logits) {
  const StepKey key{links.all->layer(0).data, tokens, !logits.empty(), !batch.mask.empty()};
  if (!logits.empty()) TNL_TRY(prepare_host_logits());
  TNL_TRY(steps.run(backend, key,
                    [this, with_logits = !logits.empty()] { return queue_step(with_logits); }));
  advance(batch, links);
  if (logits.empty()) return {};
  if (!host_logits.has_value()) return fetch(a.logits.row_block(0, tokens), logits);
  TNL_TRY(backend.finish());
  widen(step_logits_of_host(), logits);
  return {};
}

Status Execution::Impl::prepare_host_logits() {
  if (model.device().properties().kind != DeviceKind::kCuda || host_logits.has_value()) return {};
  const std::int64_t most = std::min(a.logits.rows, limits.sequences);
  const auto bytes = static_cast<std::size_t>(most * a.logits.cols * dtype_size(a.logits.dtype));
  TNL_ASSIGN(host_logits, TransferBuffer::allocate(backend, bytes, "logits"));
  return {};
}

Matrix Execution::Impl::step_logits_of_host() const {
  return Matrix::contiguous(host_logits->data(), a.logits.dtype, tokens, a.logits.cols);
}

Status Execution::Impl::queue_step(bool with_logits) {
  TNL_TRY(queue_layers());
  if (!with_logits) return {};
  // Few rows go to the host while the head is computed, over a bus that is otherwise idle; more of
  // them are faster as one copy.
  constexpr std::int64_t kDirectRows = 8;
  const bool direct = host_logits.has_value() && tokens <= kDirectRows;
  const Matrix found = direct ? step_logits_of_host() : a.logits.row_block(0, tokens);
  backend.norm_matmul(rows(a.output), config().norm_eps, rows(a.normed), model.impl().weights.head,
                      found);
  if (direct || !host_logits.has_value()) return {};
  return backend.queue_download(
      host_logits->data(), found.data,
      static_cast<std::size_t>(found.rows * found.cols * dtype_size(found.dtype)));
}

Status Execution::Impl::fetch(const Matrix& block, std::span<float> to) {
  Matrix found = block;
  if (model.device().properties().kind == DeviceKind::kCuda) {
    // Kept: memory that a system hands out anew for every token costs more than the copy.
    fetched.resize(static_cast<std::size_t>(block.rows * block.cols * dtype_size(block.dtype)));
    TNL_TRY(backend.download(fetched.data(), block.data, fetched.size()));
    found.data = fetched.data();
  }
  widen(found, to);
  return {};
}

void Execution::Impl::widen(const Matrix& block, std::span<float> to) const {
  constexpr std::int64_t kGrain = 131072;  // ten microseconds: less than a thread takes to wake
  const auto piece = [&](std::int64_t begin, std::int64_t end, int) {
    const auto* const from = static_cast<const std::byte*>(block.data);
    convert(from + begin * dtype_size(block.dtype), block.dtype, to.data() + begin, DType::kF32,
            end - begin);
  };
  backend.pool().split(block.rows * block.cols, kGrain, std::cref(piece));
}

}  // namespace tnl
