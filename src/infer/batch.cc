#include "tnl/batch.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "backend/backend.h"
#include "core/try.h"
#include "infer/batch_prefill.h"
#include "infer/text_generator.h"
#include "model/execution.h"

namespace tnl {
namespace {

// A text that runs: row n of the state, of the logits and of the batch belong to the n-th of them.
struct Running {
  BatchText text;
  TextGenerator generator;
  bool over = false;
};

class Batch {
 public:
  using Done = std::function<bool(BatchText)>;

  Batch(const Model& model, const Tokenizer& tokenizer, std::span<const BatchPrompt> prompts,
        const BatchOptions& options, ModelState state, BatchPrefill prefill, Execution step)
      : model_(model),
        tokenizer_(tokenizer),
        prompts_(prompts),
        options_(options),
        state_(std::move(state)),
        prefill_(std::move(prefill)),
        step_(std::move(step)),
        vocab_(static_cast<std::size_t>(model.config().vocab_size)),
        logits_(static_cast<std::size_t>(state_.sequences()) * vocab_) {}

  Status run(const Done& done, const std::function<bool()>& keep_going) {
    while (true) {
      TNL_TRY(admit(keep_going));
      if (running_.empty()) return {};
      if (keep_going && !keep_going()) return {StatusCode::kInterrupted, "interrupted"};
      TNL_TRY(draw());
      for (std::size_t n = running_.size(); n-- > 0;) {
        if (running_[n].over && !done(remove(n))) return {};
      }
      TNL_TRY(step());
    }
  }

 private:
  // Fills the free places with the prompts that come next.
  Status admit(const std::function<bool()>& keep_going);
  // A token of every text.
  Status draw();
  Status draw(Running& running, std::span<const float> logits) const;
  // Takes a text out; the last one moves into its place.
  BatchText remove(std::size_t n);
  // Every text reads the token it has drawn.
  Status step();

  std::span<float> row(std::size_t n) { return std::span(logits_).subspan(n * vocab_, vocab_); }

  const Model& model_;
  const Tokenizer& tokenizer_;
  std::span<const BatchPrompt> prompts_;
  const BatchOptions& options_;
  ModelState state_;  // of as many sequences as there are places
  BatchPrefill prefill_;
  Execution step_;
  std::size_t vocab_, next_ = 0;
  std::vector<float> logits_;
  std::vector<Running> running_;
};

Status Batch::admit(const std::function<bool()>& keep_going) {
  const std::size_t first = running_.size();
  std::vector<std::span<const std::int32_t>> read;
  while (running_.size() < static_cast<std::size_t>(state_.sequences()) &&
         next_ < prompts_.size()) {
    const BatchPrompt& prompt = prompts_[next_];
    GenerateOptions generation = options_.generate;
    generation.sampler.seed = prompt.seed;
    TNL_ASSIGN(TextGenerator generator,
               TextGenerator::create(tokenizer_, generation, prompt.tokens));
    running_.push_back(
        {.text = {.prompt = next_++, .text = {}, .tokens = {}}, .generator = std::move(generator)});
    read.push_back(prompt.tokens);
  }
  if (read.empty()) return {};
  const auto begin = static_cast<std::int64_t>(first);
  ModelState part = state_.part(begin, static_cast<std::int64_t>(read.size()));
  TNL_TRY(prefill_.read(
      read, part, std::span(logits_).subspan(first * vocab_, read.size() * vocab_), keep_going));
  std::copy(part.positions().begin(), part.positions().end(), state_.positions().begin() + begin);
  return {};
}

Status Batch::draw(Running& running, std::span<const float> logits) const {
  BatchText& text = running.text;
  using Drawn = TextGenerator::Drawn;
  std::optional<StopReason> reason;
  if (static_cast<std::int64_t>(text.tokens.size()) >= options_.generate.max_tokens) {
    reason = StopReason::kMaxTokens;
  } else {
    TNL_ASSIGN(const Drawn drawn, running.generator.draw(logits));
    if (drawn != Drawn::kEndOfText) text.tokens.push_back(running.generator.last());
    if (drawn == Drawn::kEndOfText) reason = StopReason::kEndOfText;
    if (drawn == Drawn::kLastToken) reason = StopReason::kStopString;
    if (drawn == Drawn::kToken &&
        static_cast<std::int64_t>(text.tokens.size()) == options_.generate.max_tokens) {
      reason = StopReason::kMaxTokens;  // nobody needs what would be predicted next
    }
  }
  if (reason && *reason != StopReason::kStopString && running.generator.finish()) {
    reason = StopReason::kStopString;
  }
  text.text += running.generator.take_text();
  running.over = reason.has_value();
  if (reason) text.reason = *reason;
  return {};
}

// Sampling from a large vocabulary takes as long as a step: the threads share the texts.
Status Batch::draw() {
  std::vector<Status> drawn(running_.size());
  const auto piece = [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) {
      const auto at = static_cast<std::size_t>(n);
      drawn[at] = draw(running_[at], row(at));
    }
  };
  model_.device().backend().pool().split(static_cast<std::int64_t>(running_.size()), 1,
                                         std::ref(piece));
  for (std::size_t n = 0; n < drawn.size(); ++n) {
    if (drawn[n].ok()) continue;
    return {drawn[n].code(),
            fmt::format("prompt {}: {}", running_[n].text.prompt, drawn[n].message())};
  }
  return {};
}

BatchText Batch::remove(std::size_t n) {
  BatchText text = std::move(running_[n].text);
  const std::size_t last = running_.size() - 1;
  if (n != last) {
    running_[n] = std::move(running_[last]);
    state_.copy_sequence(state_, static_cast<std::int64_t>(last), static_cast<std::int64_t>(n));
  }
  running_.pop_back();
  return text;
}

Status Batch::step() {
  if (running_.empty()) return {};
  const std::size_t count = running_.size();
  std::vector<std::int32_t> tokens(count);
  std::vector<std::int64_t> cu_seqlens(count + 1);
  std::iota(cu_seqlens.begin(), cu_seqlens.end(), 0);
  for (std::size_t n = 0; n < count; ++n) tokens[n] = running_[n].text.tokens.back();
  ModelState part = state_.part(0, static_cast<std::int64_t>(count));
  TNL_TRY(step_.forward({.tokens = tokens, .cu_seqlens = cu_seqlens}, &part,
                        std::span(logits_).first(count * vocab_)));
  std::copy(part.positions().begin(), part.positions().end(), state_.positions().begin());
  return {};
}

Status check_prompts(const Model& model, std::span<const BatchPrompt> prompts) {
  const std::int64_t vocab = model.config().vocab_size;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].tokens.empty()) {
      return invalid_argument(fmt::format("prompt {} is empty, expected at least one token", i));
    }
    for (const std::int32_t id : prompts[i].tokens) {
      if (id >= 0 && id < vocab) continue;
      return invalid_argument(
          fmt::format("prompt {} holds token {}, expected an id from 0 to {}", i, id, vocab - 1));
    }
  }
  return {};
}

}  // namespace

std::int64_t most_batch(const Device& device) {
  constexpr std::int64_t kMost = 256;  // where nothing else limits it
  return std::min(kMost, device.backend().most_invariant_rows());
}

Status generate_batch(const Model& model, const Tokenizer& tokenizer,
                      std::span<const BatchPrompt> prompts, const BatchOptions& options,
                      const std::function<bool(BatchText)>& done,
                      const std::function<bool()>& keep_going) {
  TNL_TRY(validate(options.generate));
  TNL_TRY(check_vocabularies(model, tokenizer));
  TNL_TRY(check_prompts(model, prompts));
  const std::int64_t most = most_batch(model.device());
  if (options.batch < 0 || options.batch > most) {
    return invalid_argument(fmt::format(
        "batch is {}, expected 1 to {} texts at a time on this device, or 0 for the most",
        options.batch, most));
  }
  if (options.prefill_chunk < 0) {
    return invalid_argument(
        fmt::format("prefill_chunk is {}, expected a number of tokens, or 0 for the default",
                    options.prefill_chunk));
  }
  if (prompts.empty()) return {};
  const std::int64_t places =
      std::min(options.batch > 0 ? options.batch : most, static_cast<std::int64_t>(prompts.size()));
  const std::int64_t chunk = options.prefill_chunk > 0
                                 ? options.prefill_chunk
                                 : Session::default_prefill_chunk(model.device());
  TNL_ASSIGN(ModelState state, ModelState::create(model, places));
  TNL_ASSIGN(BatchPrefill prefill, BatchPrefill::create(model, chunk));
  TNL_ASSIGN(Execution step, Execution::create(model, {.tokens = places, .sequences = places}));
  Batch batch(model, tokenizer, prompts, options, std::move(state), std::move(prefill),
              std::move(step));
  return batch.run(done, keep_going);
}

}  // namespace tnl
