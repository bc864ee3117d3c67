#include "infer/text_generator.h"

#include <fmt/format.h>

#include "core/try.h"

namespace tnl {

Result<bool> TextStream::push(std::int32_t id, std::string& out) {
  TNL_ASSIGN(const std::string piece, tokenizer_->piece(id, first_));
  first_ = first_ && tokenizer_->special(id);
  return push_bytes(piece, out);
}

bool TextStream::restore(const GenerateState& state, std::string& out) {
  return stop_.push(state.held, out) || push_bytes(state.partial, out);
}

void TextStream::keep(GenerateState& state) const {
  state.in_text = true;
  state.only_special = first_;
  state.held = stop_.held();
  state.partial = utf8_.held();
}

bool TextStream::finish(std::string& out) {
  whole_.clear();
  utf8_.flush(whole_);
  if (stop_.push(whole_, out)) return true;
  stop_.flush(out);
  return false;
}

bool TextStream::push_bytes(std::string_view bytes, std::string& out) {
  whole_.clear();
  utf8_.push(bytes, whole_);
  return stop_.push(whole_, out);
}

Result<TextGenerator> TextGenerator::create(const Tokenizer& tokenizer,
                                            const GenerateOptions& options,
                                            std::span<const std::int32_t> before,
                                            const GenerateState& carried) {
  TNL_ASSIGN(Sampler sampler, Sampler::create(options.sampler));
  TNL_ASSIGN(StopStrings stop, StopStrings::create(options.stop));
  if (carried.begun) {
    sampler.set_state({.rng = carried.random, .window = {before.begin(), before.end()}});
  } else {
    for (const std::int32_t id : before) sampler.accept(id);
  }
  // After a bos or eos a text begins.
  const bool first = carried.in_text ? carried.only_special : tokenizer.special(before.back());
  return TextGenerator(tokenizer, options.stop_at_eos, std::move(sampler),
                       TextStream(tokenizer, std::move(stop), first));
}

Result<TextGenerator::Drawn> TextGenerator::draw(std::span<const float> logits) {
  const auto drawable = static_cast<std::size_t>(tokenizer_->vocab_size());
  TNL_ASSIGN(const std::int32_t id, sampler_.sample(logits.first(drawable)));
  if (stop_at_eos_ && id == tokenizer_->eos_id()) return Drawn::kEndOfText;
  last_ = id;
  sampler_.accept(id);
  TNL_ASSIGN(const bool stopped, stream_.push(id, text_));
  return stopped ? Drawn::kLastToken : Drawn::kToken;
}

Status check_vocabularies(const Model& model, const Tokenizer& tokenizer) {
  const std::int64_t vocab = model.config().vocab_size;
  if (tokenizer.vocab_size() <= vocab) return {};
  return invalid_argument(
      fmt::format("the tokenizer has {} ids but the model's vocabulary only {}: they do not belong "
                  "together",
                  tokenizer.vocab_size(), vocab));
}

}  // namespace tnl
