// One text on its way from logits to characters: what a single session and a batch share.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "infer/sampler.h"
#include "infer/stop_strings.h"
#include "infer/utf8_stream.h"
#include "tnl/session.h"
#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

// From tokens to the text that may be shown.
class TextStream {
 public:
  // `first`: the text begins with the next token.
  TextStream(const Tokenizer& tokenizer, StopStrings stop, bool first)
      : tokenizer_(&tokenizer), stop_(std::move(stop)), first_(first) {}

  // Appends to `out` what became certain; true where a stop string is complete.
  Result<bool> push(std::int32_t id, std::string& out);

  // What an earlier part of the text held back.
  bool restore(const GenerateState& state, std::string& out);
  void keep(GenerateState& state) const;
  // The text is over: what is left of it. True as push().
  bool finish(std::string& out);

 private:
  bool push_bytes(std::string_view bytes, std::string& out);

  const Tokenizer* tokenizer_;
  Utf8Stream utf8_;
  StopStrings stop_;
  std::string whole_;
  bool first_;
};

class TextGenerator {
 public:
  // `before`: the tokens the text goes on from, at least one. `carried`: what generate() was given.
  // The tokenizer must outlive it.
  static Result<TextGenerator> create(const Tokenizer& tokenizer, const GenerateOptions& options,
                                      std::span<const std::int32_t> before,
                                      const GenerateState& carried = {});

  enum class Drawn { kToken, kLastToken, kEndOfText };  // the last one completed a stop string
  // Draws the next token, which is then last(), unless the text ends before it.
  Result<Drawn> draw(std::span<const float> logits);
  std::int32_t last() const { return last_; }
  // What became certain and was not taken yet.
  std::string take_text() { return std::exchange(text_, {}); }

  // As of TextStream, into what take_text() gives.
  bool restore(const GenerateState& state) { return stream_.restore(state, text_); }
  void keep(GenerateState& state) const { stream_.keep(state); }
  bool finish() { return stream_.finish(text_); }
  Rng::State random() const { return sampler_.state().rng; }

 private:
  TextGenerator(const Tokenizer& tokenizer, bool stop_at_eos, Sampler sampler, TextStream stream)
      : tokenizer_(&tokenizer),
        stop_at_eos_(stop_at_eos),
        sampler_(std::move(sampler)),
        stream_(std::move(stream)) {}

  const Tokenizer* tokenizer_;
  bool stop_at_eos_;
  Sampler sampler_;
  TextStream stream_;
  std::int32_t last_ = -1;
  std::string text_;
};

// Ok where the tokenizer's ids are the model's.
Status check_vocabularies(const Model& model, const Tokenizer& tokenizer);

}  // namespace tnl
