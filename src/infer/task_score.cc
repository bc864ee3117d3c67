#include "infer/task_score.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/try.h"
#include "infer/answer_scorer.h"

namespace tnl {
namespace {

// Code points: what Python's len() of the text is.
double characters(std::string_view text) {
  return static_cast<double>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0u) != 0x80u;
  }));
}

// The first of the largest of value / length; next to nothing divides where a choice is empty.
std::size_t likeliest(const std::vector<double>& values,
                      const std::function<double(std::size_t)>& length) {
  std::size_t best = 0;
  double most = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double value = values[i] / std::max(length(i), 1e-9);
    if (i == 0 || value > most) {
      best = i;
      most = value;
    }
  }
  return best;
}

ItemScore judge(const TaskItem& item, const ScoredAnswers& answers, TaskScore& score) {
  ItemScore result;
  for (const ScoredAnswer& answer : answers)
    result.log_likelihoods.push_back(answer.log_likelihood);
  const auto gold = static_cast<std::size_t>(item.gold);
  const auto& values = result.log_likelihoods;
  result.chosen = likeliest(values, [](std::size_t) { return 1.0; });
  result.chosen_by_characters =
      likeliest(values, [&](std::size_t i) { return characters(item.choice(i)); });
  const std::size_t by_bytes =
      likeliest(values, [&](std::size_t i) { return static_cast<double>(item.choice(i).size()); });
  const bool single = item.answers() == 1;
  result.right = single ? answers[0].greedy : result.chosen == gold;
  score.plain.add(result.right);
  score.by_characters.add(single ? result.right : result.chosen_by_characters == gold);
  score.by_bytes.add(single ? result.right : by_bytes == gold);
  score.log_likelihood += values[gold];
  score.log_likelihood_squares += values[gold] * values[gold];
  return result;
}

}  // namespace

Result<EncodedAnswer> encode_answer(const Tokenizer& tokenizer, std::string context,
                                    std::string continuation, std::int32_t start) {
  const std::size_t end = context.find_last_not_of(" \t\r\n\v\f") + 1;
  continuation.insert(0, context, end);
  context.resize(end);
  EncodedAnswer answer;
  if (context.empty()) {
    if (start < 0) {
      return invalid_argument(
          "the context is empty and the tokenizer has no bos or eos to begin with");
    }
    answer.context = {start};
    TNL_TRY(tokenizer.encode(continuation, answer.continuation));
  } else {
    TNL_TRY(tokenizer.encode(context, answer.context));
    TNL_TRY(tokenizer.encode(context + continuation, answer.continuation));
    const auto own = std::min(answer.context.size(), answer.continuation.size());
    answer.continuation.erase(answer.continuation.begin(),
                              answer.continuation.begin() + static_cast<std::ptrdiff_t>(own));
  }
  if (answer.continuation.empty()) {
    return invalid_argument("an answer has no token of its own, expected text after the context");
  }
  return answer;
}

double Accuracy::mean() const {
  return of == 0 ? 0 : static_cast<double>(right) / static_cast<double>(of);
}

double Accuracy::standard_error() const {
  if (of < 2) return 0;
  return std::sqrt(mean() * (1 - mean()) / static_cast<double>(of - 1));
}

double TaskScore::perplexity() const {
  return std::exp(-log_likelihood / static_cast<double>(plain.of));
}

double TaskScore::perplexity_error() const {
  if (plain.of < 2) return 0;
  const auto n = static_cast<double>(plain.of);
  const double mean = log_likelihood / n;
  const double variance = std::max(0.0, (log_likelihood_squares - n * mean * mean) / (n - 1));
  return perplexity() * std::sqrt(variance / n);
}

Result<TaskResult> score_task(
    const Model& model, const Tokenizer& tokenizer, std::span<const TaskItem> items,
    const TaskOptions& options,
    const std::function<bool(const ItemScore&, const TaskResult&)>& done) {
  TNL_ASSIGN(AnswerScorer scorer, AnswerScorer::create(model, tokenizer, options));
  TaskResult result;
  result.last_word = std::all_of(items.begin(), items.end(),
                                 [](const TaskItem& item) { return item.answers() == 1; });
  for (std::size_t next = 0; next < items.size();) {
    TNL_ASSIGN(const auto group, scorer.score_some(items, next));
    for (const ScoredAnswers& answers : group) {
      const TaskItem& item = items[next];
      ItemScore score = judge(item, answers, result.all);
      score.item = next++;
      if (!item.subject.empty()) judge(item, answers, result.subjects[item.subject]);
      if (!done(score, result)) {
        return interrupted(fmt::format("stopped after {} of {} items; so far {} of them right",
                                       next, items.size(), result.all.plain.right));
      }
    }
  }
  return result;
}

}  // namespace tnl
