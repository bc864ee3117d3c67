// One running text: the model's whole memory of it is a state of fixed size.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tnl/model.h"
#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

class Session {
 public:
  // `prefill_chunk`: tokens per pass of feed(); memory grows with it, results do not depend on it
  // beyond rounding.
  static Result<Session> create(const Model& model, std::int64_t prefill_chunk = 512);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // Reads tokens; logits() is then the prediction for the token after the last one.
  Status feed(std::span<const std::int32_t> tokens);
  // [vocab_size]; empty before the first token.
  std::span<const float> logits() const;
  // Reads tokens and gives for each the natural-log probability the model had assigned to it, given
  // all text before it. The first token of a session has no prediction: its entry is 0.
  Status score(std::span<const std::int32_t> tokens, std::vector<double>& log_probabilities);

  std::int64_t position() const;  // tokens read so far
  const Model& model() const;
  // An independent session that continues from here.
  Result<Session> fork() const;
  void reset();

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct SamplerOptions {
  double temperature = 1.0;           // 0: the most likely token
  std::int64_t top_k = 0;             // 0: off
  double top_p = 1.0;                 // 1: off
  double min_p = 0.0;                 // 0: off; drops tokens below min_p times the most likely one
  double repetition_penalty = 1.0;    // 1: off; divides positive and multiplies negative logits
  std::int64_t penalty_window = 256;  // of tokens just seen
  std::uint64_t seed = 0;
};

struct GenerateOptions {
  SamplerOptions sampler;
  std::int64_t max_tokens = 256;
  std::vector<std::string> stop;  // text that ends the generation and is not printed
  bool stop_at_eos = true;
};

enum class StopReason { kMaxTokens, kEndOfText, kStopString, kCancelled };

struct GenerateResult {
  std::int64_t tokens = 0;
  StopReason reason = StopReason::kMaxTokens;
};

// Samples from a session that has read at least one token. `emit` gets text as it comes, always
// whole UTF-8 characters and never part of a stop string; it returns false to cancel.
Result<GenerateResult> generate(Session& session, const Tokenizer& tokenizer,
                                const GenerateOptions& options,
                                const std::function<bool(std::string_view)>& emit);

}  // namespace tnl
