// The log-likelihoods of the answers to several items at once: shared beginnings are read once, and
// the state after a context is copied for each of its answers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "infer/task_score.h"
#include "model/execution.h"
#include "tnl/model.h"
#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

struct ScoredAnswer {
  double log_likelihood = 0;  // natural logarithm
  bool greedy = false;        // every token is the likeliest; only where an item has one answer
};
using ScoredAnswers = std::vector<ScoredAnswer>;  // of one item

class AnswerScorer {
 public:
  // Model and tokenizer must outlive it.
  static Result<AnswerScorer> create(const Model& model, const Tokenizer& tokenizer,
                                     const TaskOptions& options);

  // Scores as many of the items from `first` on as one pass takes, at least one.
  Result<std::vector<ScoredAnswers>> score_some(std::span<const TaskItem> items, std::size_t first);

 private:
  using Ids = std::vector<std::int32_t>;
  // Answers that follow the same context.
  struct Prompt {
    Ids context;
    std::vector<Ids> continuations;
    std::vector<ScoredAnswer> scores;
  };
  struct EncodedItem {
    std::vector<Prompt> prompts;  // one, or one for each answer
    std::size_t answers = 0;
  };
  // One continuation on its way through a pass: what is read, and what is predicted.
  struct Row {
    std::size_t prompt = 0;
    ScoredAnswer* score = nullptr;
    Ids inputs;                             // the last token of the context, then the continuation
    std::span<const std::int32_t> targets;  // the continuation
  };

  AnswerScorer(const Model& model, const Tokenizer& tokenizer, const TaskOptions& options,
               Execution execution, std::int64_t sequences);

  Result<EncodedItem> encode(const TaskItem& item) const;
  Result<std::vector<EncodedItem>> encode_group(std::span<const TaskItem> items, std::size_t first);
  // Brings shared_ to what all the contexts begin with, where that is worth it.
  Status read_shared(std::span<Prompt* const> prompts);
  // The states after all tokens of the contexts but their last.
  Result<ModelState> read_contexts(std::span<Prompt* const> prompts);
  Status score_rows(std::span<Row> rows, const ModelState& contexts);
  Status score_pass(std::span<Row> rows, ModelState& states, bool greedy);
  // Reads tokens of one text, a chunk at a time.
  Status read(std::span<const std::int32_t> tokens, ModelState& state);

  const Model* model_;
  const Tokenizer* tokenizer_;
  TaskOptions options_;
  Execution execution_;
  std::int64_t sequences_;  // of one pass, at most
  std::int32_t start_;      // in place of an empty context
  Ids shared_tokens_;
  std::optional<ModelState> shared_;  // after shared_tokens_; none: the beginning of a text
  Ids last_context_;                  // of the group before
  std::vector<float> logits_;
  std::vector<double> losses_;
};

}  // namespace tnl
