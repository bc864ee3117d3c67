// Answers to the items of a task by their log-likelihood, as lm-evaluation-harness scores them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "infer/task.h"
#include "tnl/model.h"
#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

// Of a context and its continuation. White space at the end of the context belongs to the
// continuation; its tokens are those of both together behind as many as the context alone has.
struct EncodedAnswer {
  std::vector<std::int32_t> context, continuation;
};
// `start` stands for an empty context; an error where it is -1 then.
Result<EncodedAnswer> encode_answer(const Tokenizer& tokenizer, std::string context,
                                    std::string continuation, std::int32_t start);

// The mean of ones and zeros, with its standard error, sqrt(p (1 - p) / (n - 1)).
struct Accuracy {
  std::int64_t right = 0, of = 0;

  void add(bool is_right) {
    right += is_right ? 1 : 0;
    ++of;
  }
  double mean() const;
  double standard_error() const;  // 0 for a single one
};

struct TaskScore {
  // The likeliest answer is the right one: by its log-likelihood, by that divided by the characters
  // and by the bytes of the choice (without the delimiter). Of equals the first counts. A last-word
  // item is right where every token of it is the likeliest.
  Accuracy plain, by_characters, by_bytes;
  // Of the right answers, natural logarithms.
  double log_likelihood = 0, log_likelihood_squares = 0;

  // exp of the negative mean, and its standard error to first order.
  double perplexity() const;
  double perplexity_error() const;
};

struct TaskResult {
  bool last_word = false;  // every item is one
  TaskScore all;
  std::map<std::string, TaskScore> subjects;  // empty where no item names one
};

struct ItemScore {
  std::size_t item = 0;
  std::vector<double> log_likelihoods;  // of each answer
  std::size_t chosen = 0;  // the likeliest; by_characters where lengths are divided out
  std::size_t chosen_by_characters = 0;
  bool right = false;
};

struct TaskOptions {
  std::int64_t chunk = 512;  // tokens per pass
  bool bos = false;          // begin every context with the tokenizer's bos
  // States of running texts kept at once take at most so many bytes, but at least that of one item.
  std::size_t state_bytes = std::size_t{256} << 20;
};

// What several contexts in a row begin with is read once, a context once for all of its answers,
// and as many of them in one pass as fit. `done` gets every item once it is scored, in order, with
// the result so far, and returns false to stop, which is kInterrupted. Errors name the item,
// from 1.
Result<TaskResult> score_task(const Model& model, const Tokenizer& tokenizer,
                              std::span<const TaskItem> items, const TaskOptions& options,
                              const std::function<bool(const ItemScore&, const TaskResult&)>& done);

}  // namespace tnl
