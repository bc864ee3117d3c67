// Evaluation on the held-out split while a run trains.
#pragma once

#include <cstdint>
#include <vector>

#include "model/execution.h"
#include "text/dataset.h"
#include "tnl/tokenizer.h"
#include "tnl/train.h"

namespace tnl {

struct HeldOut {
  double loss = -1;           // nats a target
  double bits_per_byte = -1;  // -1: the targets stand for no bytes
};

// Documents are cut into sequences as in training, each from a zero state, so a token sees at most
// sequence_length - 1 others, or with whole_documents all that come before it. Every token but the
// first of a document is predicted; the bytes of "bits per byte" are those that the predicted
// tokens stand for, so both sides of the ratio count the same text.
class Evaluator {
 public:
  static Result<Evaluator> create(const Dataset& dataset, const Tokenizer& tokenizer,
                                  const TrainConfig& config);

  // False where there is nothing held out.
  bool possible() const { return tokens_ > 0; }
  Result<HeldOut> run(Execution& execution);

 private:
  Evaluator(Dataset dataset, const LoaderOptions& options, std::int64_t tokens)
      : dataset_(std::move(dataset)), options_(options), tokens_(tokens) {}

  Dataset dataset_;
  LoaderOptions options_;
  std::int64_t tokens_;                    // stop behind so many
  std::vector<std::int32_t> piece_bytes_;  // of every id
};

}  // namespace tnl
