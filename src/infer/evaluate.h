// How well a model predicts a text of any length: its state is carried from the first token to the
// last, there is no window.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>

#include "tnl/model.h"
#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

struct Evaluation {
  std::int64_t bytes = 0;   // of the text
  std::int64_t tokens = 0;  // of the text; every one is predicted
  double nats = 0;          // -ln of the probability of the whole text
  bool lossless = true;     // false: the tokenizer gives back another text than it was given, so
                            // that bits_per_byte() is no code length of it

  double nats_per_token() const;
  double perplexity() const;  // exp of it
  double bits_per_byte() const;
};

struct EvaluateOptions {
  std::int64_t chunk = 512;  // tokens per pass; memory grows with it, the result does not change
                             // beyond rounding
};

// The text is encoded in blocks of 64 KiB, cut where the tokenizer allows it (TextBlocks); the
// tokens form one sequence. The first one is predicted from the tokenizer's bos, or where it has
// none from the uniform distribution, ln(vocabulary) nats: nothing of the text is free, so 2^-bits
// is a probability of all its bytes. `progress` gets the sums so far after every pass and returns
// false to stop, which is kInterrupted. Errors: an empty text, one that cannot be read, a tokenizer
// whose ids the model does not have, a probability that is not finite.
Result<Evaluation> evaluate(const Model& model, const Tokenizer& tokenizer, std::istream& text,
                            const EvaluateOptions& options,
                            const std::function<bool(const Evaluation&)>& progress);

}  // namespace tnl
