// Training a SentencePiece vocabulary on lines of text files.
#include <algorithm>
#include <thread>
#include <unordered_map>

#include <fmt/format.h>
#include <sentencepiece_trainer.h>

#include "core/file.h"
#include "core/rng.h"
#include "core/try.h"
#include "text/unicode.h"
#include "tnl/tokenizer.h"

namespace tnl {
namespace {

constexpr std::size_t kLongestSentence = 1 << 16;

// Characters the trainer keeps for itself, and NUL, which it refuses.
bool reserved(std::uint32_t code) {
  return code == 0 || code == 0x2047 || code == 0x2581 || code == 0x2585;
}

// Cuts a text into sentences: a line with all the newlines that follow it, so that runs of newlines
// can become pieces, without invalid bytes and reserved characters. Very long lines are cut at a
// space.
class SentenceCutter {
 public:
  explicit SentenceCutter(std::vector<std::string_view>& sentences) : sentences_(sentences) {}

  void cut(std::string_view text) {
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint point = decode_utf8(text, at);
      const bool skipped = !point.valid || reserved(point.value);
      const bool line_done = at > begin && text[at - 1] == '\n' && text[at] != '\n';
      const bool too_long =
          (at - begin >= kLongestSentence && text[at] == ' ') || at - begin >= 2 * kLongestSentence;
      if (skipped || line_done || too_long) {
        add(text.substr(begin, at - begin));
        begin = skipped ? at + point.bytes : at;
      }
      at += point.bytes;
    }
    add(text.substr(begin));
  }

 private:
  void add(std::string_view sentence) {
    if (!sentence.empty()) sentences_.push_back(sentence);
  }
  std::vector<std::string_view>& sentences_;
};

class Sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string_view>& sentences) : sentences_(sentences) {
    load();
  }
  bool done() const override { return next_ >= sentences_.size(); }
  void Next() override {
    ++next_;
    load();
  }
  const std::string& value() const override { return current_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void load() {
    if (!done()) current_ = sentences_[next_];
  }
  const std::vector<std::string_view>& sentences_;
  std::size_t next_ = 0;
  std::string current_;
};

// Keeps `count` of the sentences, in their order.
void sample(std::vector<std::string_view>& sentences, std::size_t count, std::uint64_t seed) {
  if (count == 0 || count >= sentences.size()) return;
  Rng rng(seed);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < sentences.size() && kept < count; ++i) {
    if (rng.below(sentences.size() - i) < count - kept) sentences[kept++] = sentences[i];
  }
  sentences.resize(count);
}

Status check(const SentencePieceTraining& options) {
  if (options.inputs.empty()) return invalid_argument("no text files to train a tokenizer on");
  if (options.output.empty()) return invalid_argument("no output file for the tokenizer");
  if (options.model_type != "bpe" && options.model_type != "unigram") {
    return invalid_argument(
        fmt::format("tokenizer model type \"{}\", expected bpe or unigram", options.model_type));
  }
  if (options.vocab_size < 300 || options.vocab_size > 1000000) {
    return invalid_argument(
        fmt::format("tokenizer vocabulary size {}, expected 300 to 1000000 (259 are taken by bytes "
                    "and special ids)",
                    options.vocab_size));
  }
  if (!(options.character_coverage > 0 && options.character_coverage <= 1)) {
    return invalid_argument(fmt::format("character coverage {}, expected more than 0, at most 1",
                                        options.character_coverage));
  }
  if (options.max_sentences < 0 || options.threads < 0 || options.threads > 1024) {
    return invalid_argument(
        fmt::format("{} sentences on {} threads, expected 0 or more and 0 to 1024 threads",
                    options.max_sentences, options.threads));
  }
  return {};
}

std::unordered_map<std::string, std::string> trainer_arguments(
    const SentencePieceTraining& options) {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const unsigned threads = options.threads > 0 ? static_cast<unsigned>(options.threads) : cores;
  return {{"model_type", options.model_type},
          {"vocab_size", std::to_string(options.vocab_size)},
          {"character_coverage", fmt::format("{}", options.character_coverage)},
          {"num_threads", std::to_string(std::min(threads, 128u))},
          {"byte_fallback", "true"},
          {"normalization_rule_name", "identity"},
          {"remove_extra_whitespaces", "false"},
          {"add_dummy_prefix", "false"},
          {"allow_whitespace_only_pieces", "true"},
          {"max_sentence_length", std::to_string(4 * kLongestSentence)},
          {"unk_id", "0"},
          {"bos_id", "1"},
          {"eos_id", "2"},
          {"pad_id", "-1"},
          {"minloglevel", options.verbose ? "0" : "2"}};
}

// The library's words for the two things that users meet.
std::string explain(const std::string& message) {
  const std::size_t too_high = message.find("Vocabulary size");
  return too_high == std::string::npos ? message : message.substr(too_high);
}

}  // namespace

Status train_sentencepiece(const SentencePieceTraining& options) {
  TNL_TRY(check(options));
  std::vector<MappedFile> files;
  std::vector<std::string_view> sentences;
  for (const auto& input : options.inputs) {
    TNL_ASSIGN(MappedFile file, MappedFile::open(input));
    files.push_back(std::move(file));
    SentenceCutter(sentences).cut(files.back().text());
  }
  if (sentences.empty()) {
    return invalid_argument(fmt::format("no text in {}{}", options.inputs[0].string(),
                                        options.inputs.size() > 1 ? " and the other inputs" : ""));
  }
  sample(sentences, static_cast<std::size_t>(options.max_sentences), options.seed);
  Sentences iterator(sentences);
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train(trainer_arguments(options), &iterator, &model);
  if (!status.ok()) {
    return invalid_argument(fmt::format("cannot train a vocabulary of {} on this text: {}",
                                        options.vocab_size, explain(status.error_message())));
  }
  return write_file(options.output, model);
}

}  // namespace tnl
