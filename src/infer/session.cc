#include "tnl/session.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "core/try.h"
#include "infer/session_impl.h"

namespace tnl {
namespace {

double log_probability(std::span<const float> logits, std::int32_t id) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  return logits[id] - top - std::log(sum);
}

}  // namespace

Result<std::unique_ptr<Session::Impl>> Session::Impl::create(const Model& model,
                                                             std::int64_t prefill_chunk,
                                                             ModelState state) {
  TNL_ASSIGN(Execution step, Execution::create(model, {.tokens = 1, .sequences = 1}));
  return std::make_unique<Impl>(model, prefill_chunk, std::move(state), std::move(step));
}

Status Session::Impl::check(std::span<const std::int32_t> tokens) const {
  const std::int64_t vocab = model.config().vocab_size;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < vocab) continue;
    return invalid_argument(
        fmt::format("token {} is {}, expected an id from 0 to {} (vocabulary of {})", i, tokens[i],
                    vocab - 1, vocab));
  }
  return {};
}

Result<Execution*> Session::Impl::execution(std::int64_t tokens) {
  if (tokens == 1) return &step;
  if (!prefill) {
    TNL_ASSIGN(prefill, Execution::create(model, {.tokens = prefill_chunk, .sequences = 1}));
  }
  return &*prefill;
}

Status Session::Impl::forward(std::span<const std::int32_t> tokens, bool want_logits) {
  const std::int64_t cu_seqlens[] = {0, static_cast<std::int64_t>(tokens.size())};
  TNL_ASSIGN(Execution * execution, execution(cu_seqlens[1]));
  return execution->forward({.tokens = tokens, .cu_seqlens = cu_seqlens}, &state,
                            want_logits ? std::span<float>(logits) : std::span<float>());
}

void Session::Impl::remember(std::span<const std::int32_t> tokens) {
  constexpr std::size_t kKept = kRecentTokens;
  if (tokens.size() > kKept) tokens = tokens.last(kKept);
  recent.insert(recent.end(), tokens.begin(), tokens.end());
  if (recent.size() > 2 * kKept) {
    recent.erase(recent.begin(), recent.end() - static_cast<std::ptrdiff_t>(kKept));
  }
}

Result<Session> Session::create(const Model& model, std::int64_t prefill_chunk) {
  if (prefill_chunk < 0) {
    return invalid_argument(fmt::format(
        "prefill_chunk is {}, expected a number of tokens, or 0 for the default", prefill_chunk));
  }
  if (prefill_chunk == 0) prefill_chunk = default_prefill_chunk(model.device());
  TNL_ASSIGN(ModelState state, ModelState::create(model, 1));
  TNL_ASSIGN(auto impl, Impl::create(model, prefill_chunk, std::move(state)));
  return Session(std::move(impl));
}

std::int64_t Session::default_prefill_chunk(const Device& device) {
  return device.properties().kind == DeviceKind::kCuda ? 4096 : 512;
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

Status Session::feed(std::span<const std::int32_t> tokens) {
  TNL_TRY(impl_->check(tokens));
  for (std::span rest = tokens; !rest.empty();) {
    const std::size_t count = std::min(rest.size(), static_cast<std::size_t>(impl_->prefill_chunk));
    TNL_TRY(impl_->forward(rest.first(count), count == rest.size()));
    rest = rest.subspan(count);
  }
  impl_->remember(tokens);
  return {};
}

// losses() predicts token t + 1 from token t, so the first token is predicted by the logits that
// lie ready, and the last one goes alone, to leave its logits behind.
Status Session::score(std::span<const std::int32_t> tokens,
                      std::vector<double>& log_probabilities) {
  TNL_TRY(impl_->check(tokens));
  log_probabilities.assign(tokens.size(), 0.0);
  if (tokens.empty()) return {};
  if (position() > 0) log_probabilities[0] = log_probability(logits(), tokens[0]);
  const std::span<double> predicted = std::span(log_probabilities).subspan(1);
  for (std::size_t begin = 0; begin < predicted.size();) {
    const std::size_t count =
        std::min(predicted.size() - begin, static_cast<std::size_t>(impl_->prefill_chunk));
    const std::int64_t cu_seqlens[] = {0, static_cast<std::int64_t>(count)};
    TNL_ASSIGN(Execution * execution, impl_->execution(cu_seqlens[1]));
    TNL_TRY(execution->losses({.tokens = tokens.subspan(begin, count),
                               .cu_seqlens = cu_seqlens,
                               .targets = tokens.subspan(begin + 1, count)},
                              &impl_->state, predicted.subspan(begin, count)));
    begin += count;
  }
  for (double& value : predicted) value = -value;
  TNL_TRY(impl_->forward(tokens.last(1), true));
  impl_->remember(tokens);
  return {};
}

std::span<const float> Session::logits() const {
  return position() > 0 ? std::span<const float>(impl_->logits) : std::span<const float>();
}

std::int64_t Session::position() const {
  return std::as_const(impl_->state).positions()[0];
}

std::span<const std::int32_t> Session::recent() const {
  const std::span<const std::int32_t> all = impl_->recent;
  return all.last(std::min(all.size(), static_cast<std::size_t>(kRecentTokens)));
}

const Model& Session::model() const {
  return impl_->model;
}

Result<Session> Session::fork() const {
  TNL_ASSIGN(ModelState state, impl_->state.copy());
  TNL_ASSIGN(auto impl, Impl::create(impl_->model, impl_->prefill_chunk, std::move(state)));
  impl->logits = impl_->logits;
  impl->recent = impl_->recent;
  return Session(std::move(impl));
}

void Session::reset() {
  impl_->state.reset();
  impl_->recent.clear();
}

}  // namespace tnl
