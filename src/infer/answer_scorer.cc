#include "infer/answer_scorer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "core/try.h"

namespace tnl {
namespace {

// Shorter beginnings are not worth a pass of their own.
constexpr std::size_t kLeastShared = 16;
// Rows of logits that are looked at whole, where the likeliest token is asked for.
constexpr std::int64_t kLogitRows = 32;

std::size_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  const std::size_t size = std::min(a.size(), b.size());
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.begin() + size, b.begin()).first -
                                  a.begin());
}

// -ln p of the target, and whether no other token is likelier.
std::pair<double, bool> judge_logits(std::span<const float> logits, std::int32_t target) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  const double loss = std::log(sum) + most - logits[target];
  return {loss, logits[target] == most};
}

Status broken(double log_likelihood) {
  return invalid_argument(fmt::format(
      "the model gives a log-likelihood of {}, which is not finite: its parameters are broken",
      log_likelihood));
}

}  // namespace

AnswerScorer::AnswerScorer(const Model& model, const Tokenizer& tokenizer,
                           const TaskOptions& options, Execution execution, std::int64_t sequences)
    : model_(&model),
      tokenizer_(&tokenizer),
      options_(options),
      execution_(std::move(execution)),
      sequences_(sequences),
      start_(tokenizer.bos_id() >= 0 ? tokenizer.bos_id() : tokenizer.eos_id()),
      losses_(static_cast<std::size_t>(options.chunk)) {}

Result<AnswerScorer> AnswerScorer::create(const Model& model, const Tokenizer& tokenizer,
                                          const TaskOptions& options) {
  if (options.chunk < 1) {
    return invalid_argument(fmt::format("chunk is {}, expected at least 1 token", options.chunk));
  }
  if (tokenizer.vocab_size() > model.config().vocab_size) {
    return invalid_argument(
        fmt::format("the tokenizer has {} ids but the model's vocabulary only {}: they do not "
                    "belong together",
                    tokenizer.vocab_size(), model.config().vocab_size));
  }
  if (options.bos && tokenizer.bos_id() < 0) {
    return invalid_argument("the contexts are to begin with bos, but the tokenizer has none");
  }
  TNL_ASSIGN(const ModelState one, ModelState::create(model, 1));
  const auto fitting =
      static_cast<std::int64_t>(options.state_bytes / std::max<std::size_t>(one.bytes(), 1));
  const std::int64_t sequences = std::clamp<std::int64_t>(fitting, 1, options.chunk);
  TNL_ASSIGN(Execution execution,
             Execution::create(model, {.tokens = options.chunk, .sequences = sequences}));
  return AnswerScorer(model, tokenizer, options, std::move(execution), sequences);
}

Result<AnswerScorer::EncodedItem> AnswerScorer::encode(const TaskItem& item) const {
  EncodedItem encoded;
  encoded.answers = item.answers();
  for (std::size_t i = 0; i < encoded.answers; ++i) {
    TNL_ASSIGN(EncodedAnswer answer, encode_answer(*tokenizer_, item.prefix + item.context(i),
                                                   item.delimiter + item.choice(i), start_));
    if (options_.bos && answer.context[0] != tokenizer_->bos_id()) {
      answer.context.insert(answer.context.begin(), tokenizer_->bos_id());
    }
    if (encoded.prompts.empty() || encoded.prompts.back().context != answer.context) {
      encoded.prompts.push_back({std::move(answer.context), {}, {}});
    }
    encoded.prompts.back().continuations.push_back(std::move(answer.continuation));
  }
  for (Prompt& prompt : encoded.prompts) prompt.scores.resize(prompt.continuations.size());
  return encoded;
}

// Items until their contexts fill a pass, what they all begin with not counted, or there would be
// too many states.
Result<std::vector<AnswerScorer::EncodedItem>> AnswerScorer::encode_group(
    std::span<const TaskItem> items, std::size_t first) {
  std::vector<EncodedItem> group;
  std::size_t shared = 0, tokens = 0, prompts = 0;
  for (std::size_t i = first; i < items.size(); ++i) {
    Result<EncodedItem> item = encode(items[i]);
    if (!item.ok()) {
      return Status(item.status().code(),
                    fmt::format("item {}: {}", i + 1, item.status().message()));
    }
    std::size_t common = shared, more = 0;
    for (const Prompt& prompt : item->prompts) {
      const Ids& reference = group.empty() ? item->prompts[0].context : group[0].prompts[0].context;
      const std::size_t match = common_prefix(reference, prompt.context);
      common = group.empty() && &prompt == &item->prompts[0] ? match : std::min(common, match);
      more += prompt.context.size();
    }
    const std::size_t count = prompts + item->prompts.size();
    const bool fits = tokens + more <= static_cast<std::size_t>(options_.chunk) + common * count &&
                      count <= static_cast<std::size_t>(sequences_);
    if (!group.empty() && !fits) break;
    shared = common;
    tokens += more;
    prompts = count;
    group.push_back(std::move(item).value());
    if (!fits) break;
  }
  return group;
}

Status AnswerScorer::read(std::span<const std::int32_t> tokens, ModelState& state) {
  while (!tokens.empty()) {
    const std::size_t count = std::min(tokens.size(), static_cast<std::size_t>(options_.chunk));
    const std::int64_t cu_seqlens[] = {0, static_cast<std::int64_t>(count)};
    TNL_TRY(
        execution_.forward({.tokens = tokens.first(count), .cu_seqlens = cu_seqlens}, &state, {}));
    tokens = tokens.subspan(count);
  }
  return {};
}

// What was read for the group before stays where it still fits. Else the beginning that this group
// shares with the one before is likely to serve the next as well.
Status AnswerScorer::read_shared(std::span<Prompt* const> prompts) {
  const Ids& first = prompts[0]->context;
  std::size_t common = first.size() - 1;
  for (const Prompt* prompt : prompts) {
    common = std::min({common, common_prefix(first, prompt->context), prompt->context.size() - 1});
  }
  const std::size_t kept = common_prefix(shared_tokens_, std::span(first).first(common));
  const bool fits = kept == shared_tokens_.size();
  const std::size_t before = std::min(common, common_prefix(first, last_context_));
  last_context_ = prompts.back()->context;
  const std::size_t wanted = before >= kLeastShared ? before : common;
  if (fits && wanted < kept + kLeastShared) return {};
  if (!fits) {
    shared_.reset();
    shared_tokens_.clear();
    if (wanted < kLeastShared || (prompts.size() == 1 && before < kLeastShared)) return {};
  }
  if (!shared_) {
    TNL_ASSIGN(shared_, ModelState::create(*model_, 1));
  }
  const std::span<const std::int32_t> tokens = std::span(first).first(wanted);
  TNL_TRY(read(tokens.subspan(shared_tokens_.size()), *shared_));
  shared_tokens_.assign(tokens.begin(), tokens.end());
  return {};
}

// As many contexts together as a pass takes; one that is longer goes alone, piece by piece.
Result<ModelState> AnswerScorer::read_contexts(std::span<Prompt* const> prompts) {
  TNL_TRY(read_shared(prompts));
  TNL_ASSIGN(ModelState result,
             ModelState::create(*model_, static_cast<std::int64_t>(prompts.size())));
  const auto rest = [&](std::size_t i) {
    const std::span<const std::int32_t> context = prompts[i]->context;
    return context.subspan(shared_tokens_.size(), context.size() - 1 - shared_tokens_.size());
  };
  for (std::size_t begin = 0, end = 0; begin < prompts.size(); begin = end) {
    Ids tokens;
    std::vector<std::int64_t> cu_seqlens = {0};
    for (; end < prompts.size() && end - begin < static_cast<std::size_t>(sequences_); ++end) {
      const auto more = rest(end);
      const bool fits = tokens.size() + more.size() <= static_cast<std::size_t>(options_.chunk);
      if (end > begin && !fits) break;
      tokens.insert(tokens.end(), more.begin(), more.end());
      cu_seqlens.push_back(static_cast<std::int64_t>(tokens.size()));
    }
    const auto count = static_cast<std::int64_t>(end - begin);
    TNL_ASSIGN(ModelState states, ModelState::create(*model_, count));
    for (std::int64_t i = 0; shared_ && i < count; ++i) states.copy_sequence(*shared_, 0, i);
    if (count == 1) {
      TNL_TRY(read(tokens, states));
    } else if (!tokens.empty()) {
      TNL_TRY(execution_.forward({.tokens = tokens, .cu_seqlens = cu_seqlens}, &states, {}));
    }
    for (std::int64_t i = 0; i < count; ++i) {
      result.copy_sequence(states, i, static_cast<std::int64_t>(begin) + i);
    }
  }
  return result;
}

Status AnswerScorer::score_pass(std::span<Row> rows, ModelState& states, bool greedy) {
  Ids tokens, targets;
  std::vector<std::int64_t> cu_seqlens = {0};
  for (const Row& row : rows) {
    tokens.insert(tokens.end(), row.inputs.begin(), row.inputs.end());
    targets.insert(targets.end(), row.targets.begin(), row.targets.end());
    cu_seqlens.push_back(static_cast<std::int64_t>(tokens.size()));
  }
  const TokenBatch batch = {.tokens = tokens, .cu_seqlens = cu_seqlens, .targets = targets};
  const auto vocabulary = static_cast<std::size_t>(model_->config().vocab_size);
  if (greedy) {
    logits_.resize(tokens.size() * vocabulary);
    TNL_TRY(
        execution_.forward({.tokens = tokens, .cu_seqlens = cu_seqlens}, &states, logits_, true));
  } else {
    TNL_TRY(execution_.losses(batch, &states, std::span(losses_).first(tokens.size())));
  }
  std::size_t at = 0;
  for (Row& row : rows) {
    for (std::size_t i = 0; i < row.targets.size(); ++i, ++at) {
      if (greedy) {
        const auto [loss, likeliest] =
            judge_logits(std::span(logits_).subspan(at * vocabulary, vocabulary), targets[at]);
        row.score->log_likelihood -= loss;
        row.score->greedy = row.score->greedy && likeliest;
      } else {
        row.score->log_likelihood -= losses_[at];
      }
    }
  }
  return {};
}

// Rows together as far as a pass takes them; one that is longer goes alone, piece by piece.
Status AnswerScorer::score_rows(std::span<Row> rows, const ModelState& contexts) {
  while (!rows.empty()) {
    const bool greedy = rows[0].score->greedy;
    const std::int64_t most = greedy ? std::min(kLogitRows, options_.chunk) : options_.chunk;
    std::int64_t tokens = 0;
    std::size_t count = 0;
    while (count < rows.size() && count < static_cast<std::size_t>(sequences_) &&
           rows[count].score->greedy == greedy) {
      tokens += static_cast<std::int64_t>(rows[count].inputs.size());
      if (tokens > most) break;
      ++count;
    }
    TNL_ASSIGN(
        ModelState states,
        ModelState::create(*model_, static_cast<std::int64_t>(std::max<std::size_t>(count, 1))));
    for (std::size_t i = 0; i < std::max<std::size_t>(count, 1); ++i) {
      states.copy_sequence(contexts, static_cast<std::int64_t>(rows[i].prompt),
                           static_cast<std::int64_t>(i));
    }
    if (count > 0) {
      TNL_TRY(score_pass(rows.first(count), states, greedy));
    } else {
      const Row& row = rows[0];
      for (std::size_t at = 0; at < row.inputs.size(); at += static_cast<std::size_t>(most)) {
        const std::size_t bytes = std::min(row.inputs.size() - at, static_cast<std::size_t>(most));
        Row piece = {row.prompt, row.score,
                     Ids(row.inputs.begin() + static_cast<std::ptrdiff_t>(at),
                         row.inputs.begin() + static_cast<std::ptrdiff_t>(at + bytes)),
                     row.targets.subspan(at, bytes)};
        TNL_TRY(score_pass(std::span(&piece, 1), states, greedy));
      }
      count = 1;
    }
    rows = rows.subspan(count);
  }
  return {};
}

Result<std::vector<ScoredAnswers>> AnswerScorer::score_some(std::span<const TaskItem> items,
                                                            std::size_t first) {
  TNL_ASSIGN(std::vector<EncodedItem> group, encode_group(items, first));
  std::vector<Prompt*> prompts;
  std::vector<Row> rows;
  for (EncodedItem& item : group) {
    for (Prompt& prompt : item.prompts) {
      for (std::size_t i = 0; i < prompt.continuations.size(); ++i) {
        const Ids& continuation = prompt.continuations[i];
        prompt.scores[i].greedy = item.answers == 1;
        Row row = {prompts.size(), &prompt.scores[i], {prompt.context.back()}, continuation};
        row.inputs.insert(row.inputs.end(), continuation.begin(), continuation.end() - 1);
        rows.push_back(std::move(row));
      }
      prompts.push_back(&prompt);
    }
  }
  TNL_ASSIGN(const ModelState contexts, read_contexts(prompts));
  TNL_TRY(score_rows(rows, contexts));
  std::vector<ScoredAnswers> result;
  for (EncodedItem& item : group) {
    ScoredAnswers answers;
    for (const Prompt& prompt : item.prompts) {
      answers.insert(answers.end(), prompt.scores.begin(), prompt.scores.end());
    }
    for (const ScoredAnswer& answer : answers) {
      if (!std::isfinite(answer.log_likelihood)) return broken(answer.log_likelihood);
    }
    result.push_back(std::move(answers));
  }
  return result;
}

}  // namespace tnl
