// One running text: the model's whole memory of it is a state of fixed size.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
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

// What generate() carries beside the session from one call to the next, so that a text can be cut
// anywhere and goes on as if it had never stopped. A new one is the beginning of a text.
struct GenerateState {
  bool begun = false;  // false: the random numbers start from the seed of the options
  std::array<std::uint64_t, 4> random{};
  // The session's last tokens are generated text that may go on; set to false after feed().
  bool in_text = false;
  bool only_special = false;  // of that text all ids so far stand for no text
  std::string held = {};      // of it, not emitted yet: may be the beginning of a stop string,
  std::string partial = {};   // and behind that the first bytes of a character

  static constexpr std::size_t kMostHeld = 4096;  // bytes; no stop string is longer
};

class Session {
 public:
  // `prefill_chunk`: tokens per pass of feed(); memory grows with it, results do not depend on it
  // beyond rounding. 0: the default of the model's device. Memory for passes of more than one token
  // is taken at the first such pass.
  static Result<Session> create(const Model& model, std::int64_t prefill_chunk = 0);
  // 512, and more on a GPU, whose matrix products want more rows.
  static std::int64_t default_prefill_chunk(const Device& device);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // Reads tokens; logits() is then the prediction for the token after the last one. An id outside
  // the vocabulary is an error, and nothing is read.
  Status feed(std::span<const std::int32_t> tokens);
  // [vocab_size]; empty before the first token.
  std::span<const float> logits() const;
  // Reads tokens and gives for each the natural-log probability the model had assigned to it, given
  // all text before it. The first token of a session has no prediction: its entry is 0.
  // `log_probabilities` becomes as long as `tokens`; logits() and errors are those of feed().
  Status score(std::span<const std::int32_t> tokens, std::vector<double>& log_probabilities);

  std::int64_t position() const;  // tokens read so far
  // The last tokens read, oldest first: all of them up to kRecentTokens, then that many.
  std::span<const std::int32_t> recent() const;
  static constexpr std::int64_t kRecentTokens = 4096;
  const Model& model() const;
  // An independent session that continues from here.
  Result<Session> fork() const;
  void reset();

  // One file of a size that depends on the model alone, however long the text: the states of the
  // layers, position, logits and recent(), and with them what generate() carries. Written to a
  // temporary name, synced, renamed. A copy of the file is a branch of the text.
  Status save(const std::filesystem::path& path, const GenerateState& text = {}) const;
  // Continues bit for bit where save() was called, on the same kind of device. An error where the
  // file is damaged, truncated, of another version, or belongs to another model (fingerprint(): the
  // storage of the parameters counts too).
  static Result<Session> load(const Model& model, const std::filesystem::path& path,
                              GenerateState* text = nullptr, std::int64_t prefill_chunk = 0);

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The steps in their order: the penalty changes the logits; top-k, top-p and min-p each drop tokens
// by the probabilities of what the steps before them kept, at temperature 1; the temperature then
// shapes the distribution that is drawn from.
struct SamplerOptions {
  double temperature = 1.0;  // >= 0; 0: the most likely token, of equals the one with the lowest id
  std::int64_t top_k = 0;    // >= 0; 0: off
  double top_p = 1.0;        // (0, 1]; the likeliest tokens that together reach it; 1: off
  double min_p = 0.0;        // [0, 1]; 0: off; drops tokens below min_p times the most likely one
  // [0.01, 100]; 1: off; divides positive and multiplies negative logits of the ids in the window,
  // once each however often they occur.
  double repetition_penalty = 1.0;
  std::int64_t penalty_window = 256;  // last tokens, prompt included; 0 ... Session::kRecentTokens
  std::uint64_t seed = 0;
};

struct GenerateOptions {
  SamplerOptions sampler;
  std::int64_t max_tokens = 256;
  // Text that ends the generation and is not emitted. Where several could match, the one that is
  // complete first does, and of several complete at the same place the longest. At most
  // GenerateState::kMostHeld bytes each.
  std::vector<std::string> stop;
  bool stop_at_eos = true;
};

// Every option in its range, or a sentence that names it.
Status validate(const GenerateOptions& options);

enum class StopReason { kMaxTokens, kEndOfText, kStopString, kCancelled };

struct GenerateResult {
  std::int64_t tokens = 0;  // sampled, without the eos that ended the text
  StopReason reason = StopReason::kMaxTokens;
};

// Samples from a session that has read at least one token. `emit` is called for every token, with
// the text that has become certain (often none, never part of a stop string): whole UTF-8
// characters, U+FFFD for bytes that are none; it returns false to cancel. Afterwards the session
// has read every token counted in the result, so that the text can be continued. Where the
// vocabulary of the model is larger than that of the tokenizer, the ids beyond are never drawn.
// Logits that are NaN or +infinity are an error.
//
// With `state` a text can be generated in parts: where max_tokens or emit end the call, what is not
// certain yet is not emitted but kept in the state. The parts, with the same options but
// max_tokens, are together the tokens and the text of a single call.
Result<GenerateResult> generate(Session& session, const Tokenizer& tokenizer,
                                const GenerateOptions& options,
                                const std::function<bool(std::string_view)>& emit,
                                GenerateState* state = nullptr);

// For a text that will not go on: the text that `state` holds back, which it then holds no more.
std::string finish_text(GenerateState& state);

}  // namespace tnl
