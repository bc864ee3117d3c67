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
    whole_.clear();
    utf8_.push(piece, whole_);
    return stop_.push(whole_, out);
  }

  bool finish(std::string& out) {
    whole_.clear();
    utf8_.flush(whole_);
    if (stop_.push(whole_, out)) return true;
    stop_.flush(out);
    return false;
  }

 private:
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

Result<GenerateResult> generate(Session& session, const Tokenizer& tokenizer,
                                const GenerateOptions& options,
                                const std::function<bool(std::string_view)>& emit) {
  TNL_TRY(validate(options));
  TNL_TRY(check(session, tokenizer));
  TNL_ASSIGN(Sampler sampler, Sampler::create(options.sampler));
  TNL_ASSIGN(StopStrings stop, StopStrings::create(options.stop));
  for (const std::int32_t id : session.recent()) sampler.accept(id);
  // After a bos or eos a text begins.
  TextStream stream(tokenizer, std::move(stop), tokenizer.special(session.recent().back()));

  GenerateResult result;
  std::string text;
  const auto drawable = static_cast<std::size_t>(tokenizer.vocab_size());
  while (result.tokens < options.max_tokens) {
    TNL_ASSIGN(const std::int32_t id, sampler.sample(session.logits().first(drawable)));
    if (options.stop_at_eos && id == tokenizer.eos_id()) {
      result.reason = StopReason::kEndOfText;
      break;
    }
    ++result.tokens;
    sampler.accept(id);
    text.clear();
    TNL_ASSIGN(const bool stopped, stream.push(id, text));
    const bool wanted = emit(text);  // before the model's turn: nobody waits for it to read
    TNL_TRY(session.feed({&id, 1}));
    if (stopped || !wanted) {
      result.reason = stopped ? StopReason::kStopString : StopReason::kCancelled;
      return result;
    }
  }
  text.clear();
  if (stream.finish(text)) result.reason = StopReason::kStopString;
  if (!text.empty() && !emit(text)) result.reason = StopReason::kCancelled;
  return result;
}

}  // namespace tnl
