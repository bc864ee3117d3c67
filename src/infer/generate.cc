#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "core/try.h"
#include "infer/sampler.h"
#include "infer/stop_strings.h"
#include "infer/utf8_stream.h"
#include "tnl/session.h"

namespace tnl {
namespace {

// From tokens to the text that may be shown.
class TextStream {
 public:
  // `first`: the text begins with the next token.
  TextStream(const Tokenizer& tokenizer, StopStrings stop, bool first)
      : tokenizer_(tokenizer), stop_(std::move(stop)), first_(first) {}

  // Appends to `out` what became certain; true where a stop string is complete.
  Result<bool> push(std::int32_t id, std::string& out) {
    TNL_ASSIGN(const std::string piece, tokenizer_.piece(id, first_));
    first_ = first_ && tokenizer_.special(id);
    return push_bytes(piece, out);
  }

  // What an earlier part of the text held back.
  bool restore(const GenerateState& state, std::string& out) {
    return stop_.push(state.held, out) || push_bytes(state.partial, out);
  }

  void keep(GenerateState& state) const {
    state.in_text = true;
    state.only_special = first_;
    state.held = stop_.held();
    state.partial = utf8_.held();
  }

  bool finish(std::string& out) {
    whole_.clear();
    utf8_.flush(whole_);
    if (stop_.push(whole_, out)) return true;
    stop_.flush(out);
    return false;
  }

 private:
  bool push_bytes(std::string_view bytes, std::string& out) {
    whole_.clear();
    utf8_.push(bytes, whole_);
    return stop_.push(whole_, out);
  }

  const Tokenizer& tokenizer_;
  Utf8Stream utf8_;
  StopStrings stop_;
  std::string whole_;
  bool first_;
};

Status check(const Session& session, const Tokenizer& tokenizer) {
  if (session.position() == 0) {
    return invalid_argument("the session is empty: feed it at least one token before generating");
  }
  const std::int64_t vocab = session.model().config().vocab_size;
  if (tokenizer.vocab_size() > vocab) {
    return invalid_argument(
        fmt::format("the tokenizer has {} ids but the model's vocabulary only {}: they do not "
                    "belong together",
                    tokenizer.vocab_size(), vocab));
  }
  return {};
}

}  // namespace

Status validate(const GenerateOptions& options) {
  if (options.max_tokens < 0) {
    return invalid_argument(
        fmt::format("max_tokens is {}, expected 0 or more", options.max_tokens));
  }
  if (const auto sampler = Sampler::create(options.sampler); !sampler.ok()) return sampler.status();
  return StopStrings::create(options.stop).status();
}

namespace {

// One call of generate().
class GenerateCall {
 public:
  using Emit = std::function<bool(std::string_view)>;

  GenerateCall(Session& session, const Tokenizer& tokenizer, const GenerateOptions& options,
               Sampler sampler, TextStream stream)
      : session_(session),
        tokenizer_(tokenizer),
        options_(options),
        sampler_(std::move(sampler)),
        stream_(std::move(stream)) {}

  // `state`: never null. `keep`: the text may go on.
  Result<GenerateResult> run(const Emit& emit, GenerateState& state, bool keep) {
    bool stopped = state.in_text && stream_.restore(state, text_);
    const bool wanted = text_.empty() || emit(text_);  // other stop strings than before
    text_.clear();
    if (!wanted) result_.reason = StopReason::kCancelled;
    if (!stopped && wanted) {
      TNL_ASSIGN(stopped, draw_all(emit));
    }
    const bool goes_on = keep && !stopped && result_.reason != StopReason::kEndOfText;
    state = GenerateState();
    state.begun = true;
    state.random = sampler_.state().rng;
    if (goes_on) {
      stream_.keep(state);
    } else if (!stopped && result_.reason != StopReason::kCancelled) {
      text_.clear();
      stopped = stream_.finish(text_);
      if (!text_.empty() && !emit(text_)) result_.reason = StopReason::kCancelled;
    }
    if (stopped) result_.reason = StopReason::kStopString;
    return result_;
  }

 private:
  // Until a stop string is complete (true) or there is another reason to end.
  Result<bool> draw_all(const Emit& emit);

  Session& session_;
  const Tokenizer& tokenizer_;
  const GenerateOptions& options_;
  Sampler sampler_;
  TextStream stream_;
  GenerateResult result_;
  std::string text_;  // certain, and not emitted yet
};

Result<bool> GenerateCall::draw_all(const Emit& emit) {
  const auto drawable = static_cast<std::size_t>(tokenizer_.vocab_size());
  while (result_.tokens < options_.max_tokens) {
    TNL_ASSIGN(const std::int32_t id, sampler_.sample(session_.logits().first(drawable)));
    if (options_.stop_at_eos && id == tokenizer_.eos_id()) {
      result_.reason = StopReason::kEndOfText;
      break;
    }
    ++result_.tokens;
    sampler_.accept(id);
    TNL_ASSIGN(const bool stopped, stream_.push(id, text_));
    const bool wanted = emit(text_);  // before the model's turn: nobody waits for it to read
    text_.clear();
    TNL_TRY(session_.feed({&id, 1}));
    if (stopped) return true;
    if (wanted) continue;
    result_.reason = StopReason::kCancelled;
    break;
  }
  return false;
}

}  // namespace

Result<GenerateResult> generate(Session& session, const Tokenizer& tokenizer,
                                const GenerateOptions& options,
                                const std::function<bool(std::string_view)>& emit,
                                GenerateState* state) {
  TNL_TRY(validate(options));
  TNL_TRY(check(session, tokenizer));
  GenerateState fresh;
  GenerateState& carried = state != nullptr ? *state : fresh;
  TNL_ASSIGN(Sampler sampler, Sampler::create(options.sampler));
  TNL_ASSIGN(StopStrings stop, StopStrings::create(options.stop));
  const auto recent = session.recent();
  if (carried.begun) {
    sampler.set_state({.rng = carried.random, .window = {recent.begin(), recent.end()}});
  } else {
    for (const std::int32_t id : recent) sampler.accept(id);
  }
  // After a bos or eos a text begins.
  const bool first = carried.in_text ? carried.only_special : tokenizer.special(recent.back());
  GenerateCall call(session, tokenizer, options, std::move(sampler),
                    TextStream(tokenizer, std::move(stop), first));
  return call.run(emit, carried, state != nullptr);
}

std::string finish_text(GenerateState& state) {
  std::string text = std::move(state.held);
  Utf8Stream stream;
  stream.push(state.partial, text);
  stream.flush(text);
  state.in_text = false;
  state.held.clear();
  state.partial.clear();
  return text;
}

}  // namespace tnl
