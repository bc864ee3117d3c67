#include <string>
#include <utility>

#include <fmt/format.h>

#include "core/try.h"
#include "infer/sampler.h"
#include "infer/stop_strings.h"
#include "infer/text_generator.h"
#include "infer/utf8_stream.h"
#include "tnl/session.h"

namespace tnl {

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

  GenerateCall(Session& session, const GenerateOptions& options, TextGenerator text)
      : session_(session), options_(options), text_(std::move(text)) {}

  // `state`: never null. `keep`: the text may go on.
  Result<GenerateResult> run(const Emit& emit, GenerateState& state, bool keep) {
    bool stopped = state.in_text && text_.restore(state);
    const std::string before = text_.take_text();
    const bool wanted = before.empty() || emit(before);  // other stop strings than before
    if (!wanted) result_.reason = StopReason::kCancelled;
    if (!stopped && wanted) {
      TNL_ASSIGN(stopped, draw_all(emit));
    }
    const bool goes_on = keep && !stopped && result_.reason != StopReason::kEndOfText;
    state = GenerateState();
    state.begun = true;
    state.random = text_.random();
    if (goes_on) {
      text_.keep(state);
    } else if (!stopped && result_.reason != StopReason::kCancelled) {
      stopped = text_.finish();
      const std::string last = text_.take_text();
      if (!last.empty() && !emit(last)) result_.reason = StopReason::kCancelled;
    }
    if (stopped) result_.reason = StopReason::kStopString;
    return result_;
  }

 private:
  // Until a stop string is complete (true) or there is another reason to end.
  Result<bool> draw_all(const Emit& emit);

  Session& session_;
  const GenerateOptions& options_;
  TextGenerator text_;
  GenerateResult result_;
};

Result<bool> GenerateCall::draw_all(const Emit& emit) {
  while (result_.tokens < options_.max_tokens) {
    TNL_ASSIGN(const TextGenerator::Drawn drawn, text_.draw(session_.logits()));
    if (drawn == TextGenerator::Drawn::kEndOfText) {
      result_.reason = StopReason::kEndOfText;
      break;
    }
    ++result_.tokens;
    const bool wanted = emit(text_.take_text());  // before the model's turn: nobody waits for it
    const std::int32_t id = text_.last();
    TNL_TRY(session_.feed({&id, 1}));
    if (drawn == TextGenerator::Drawn::kLastToken) return true;
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
  if (session.position() == 0) {
    return invalid_argument("the session is empty: feed it at least one token before generating");
  }
  TNL_TRY(check_vocabularies(session.model(), tokenizer));
  GenerateState fresh;
  GenerateState& carried = state != nullptr ? *state : fresh;
  TNL_ASSIGN(TextGenerator text,
             TextGenerator::create(tokenizer, options, session.recent(), carried));
  GenerateCall call(session, options, std::move(text));
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
