// tnl tokenizer: train one, or turn text into ids and back.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/printable.h"
#include "tnl/cli.h"
#include "tnl/commands.h"
#include "tnl/tokenizer.h"

namespace tnl::command {
namespace {

constexpr std::size_t kReadStep = std::size_t{1} << 20;

struct Options {
  std::string tokenizer;
  std::vector<std::string> files;
  bool json = false;
};

// Calls take(bytes) for all of the files, "-" and no file meaning stdin, a piece at a time.
void read_all(const std::vector<std::string>& files,
              const std::function<void(std::string_view)>& take) {
  const auto read_stream = [&](std::FILE* stream, const std::string& name) {
    std::string block(kReadStep, '\0');
    for (std::size_t count; (count = std::fread(block.data(), 1, block.size(), stream)) > 0;) {
      take(std::string_view(block).substr(0, count));
    }
    if (std::ferror(stream) != 0) require(io_error(fmt::format("cannot read {}", name)));
  };
  if (files.empty()) read_stream(stdin, "stdin");
  for (const std::string& file : files) {
    if (file == "-") {
      read_stream(stdin, "stdin");
      continue;
    }
    const MappedFile mapped = require(MappedFile::open(file));
    for (std::size_t at = 0; at < mapped.text().size(); at += kReadStep) {
      take(mapped.text().substr(at, kReadStep));
    }
  }
}

void print_bytes(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) {
    require(io_error("cannot write to stdout"));
  }
}

class IdPrinter {
 public:
  explicit IdPrinter(bool json) : json_(json) {
    if (json_) print_bytes("[");
  }
  void print(std::span<const std::int32_t> ids) {
    std::string text;
    for (const std::int32_t id : ids) {
      if (printed_++ > 0) text += json_ ? ", " : " ";
      text += fmt::format_int(id).c_str();
    }
    print_bytes(text);
  }
  void finish() { print_bytes(json_ ? "]\n" : "\n"); }

 private:
  bool json_;
  std::int64_t printed_ = 0;
};

void encode(const Options& options) {
  const auto tokenizer = require(load_tokenizer(options.tokenizer));
  IdPrinter printer(options.json);
  std::string waiting;
  std::vector<std::int32_t> ids;
  bool first = true;
  std::size_t enough = kReadStep;
  const auto encode_first = [&](std::size_t bytes) {
    ids.clear();
    require(tokenizer->encode_part(std::string_view(waiting).substr(0, bytes), first, ids));
    printer.print(ids);
    waiting.erase(0, bytes);
    first = false;
  };
  read_all(options.files, [&](std::string_view bytes) {
    waiting += bytes;
    if (waiting.size() < enough) return;
    const std::size_t cut = tokenizer->last_cut(waiting);
    if (cut > 0) encode_first(cut);
    enough = std::max(kReadStep, 2 * waiting.size());
  });
  if (!waiting.empty()) encode_first(waiting.size());
  printer.finish();
}

// Reads numbers with spaces, commas or brackets between them, as encode prints them.
class IdDecoder {
 public:
  explicit IdDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void take(std::string_view bytes) {
    for (const char c : bytes) {
      const bool between = std::string_view(" \t\r\n,[]").find(c) != std::string_view::npos;
      if (!between) {
        word_ += c;
      } else if (!word_.empty()) {
        finish();
      }
    }
  }
  void finish() {
    if (word_.empty()) return;
    std::int32_t id = 0;
    const char* end = word_.data() + word_.size();
    const auto [rest, error] = std::from_chars(word_.data(), end, id);
    if (error != std::errc() || rest != end) {
      require(invalid_argument(fmt::format("found \"{}\", expected a token id", printable(word_))));
    }
    print_bytes(require(tokenizer_.piece(id, first_)));
    first_ = first_ && tokenizer_.special(id);
    word_.clear();
  }

 private:
  const Tokenizer& tokenizer_;
  std::string word_;
  bool first_ = true;
};

void decode(const Options& options) {
  const auto tokenizer = require(load_tokenizer(options.tokenizer));
  IdDecoder decoder(*tokenizer);
  read_all(options.files, [&](std::string_view bytes) { decoder.take(bytes); });
  decoder.finish();
}

void print_info(const Options& options) {
  const auto tokenizer = require(load_tokenizer(options.tokenizer));
  if (options.json) {
    fmt::print("{}\n", nlohmann::ordered_json({{"kind", tokenizer->kind()},
                                               {"vocab_size", tokenizer->vocab_size()},
                                               {"bos_id", tokenizer->bos_id()},
                                               {"eos_id", tokenizer->eos_id()}})
                           .dump());
    return;
  }
  const auto id = [](std::int32_t value) {
    return value < 0 ? std::string("none") : std::to_string(value);
  };
  fmt::print("kind        {}\nvocabulary  {}\nbos id      {}\neos id      {}\n", tokenizer->kind(),
             tokenizer->vocab_size(), id(tokenizer->bos_id()), id(tokenizer->eos_id()));
}

void add_training(CLI::App& parent) {
  CLI::App* command = parent.add_subcommand("train", "train a SentencePiece vocabulary on text");
  const auto options = std::make_shared<SentencePieceTraining>();
  command->add_option("inputs", options->inputs, "plain text files")->required();
  command->add_option("-o,--output", options->output, "the .model file to write")->required();
  command->add_option("--vocab-size", options->vocab_size, "number of ids, bytes included")
      ->capture_default_str();
  command->add_option("--model-type", options->model_type, "bpe or unigram")->capture_default_str();
  command
      ->add_option("--character-coverage", options->character_coverage,
                   "share of the characters that get an id of their own; bytes spell the rest")
      ->capture_default_str();
  command
      ->add_option("--max-sentences", options->max_sentences,
                   "train on a sample of so many lines; 0: all")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "of the sample")
      ->check(seed_range())
      ->capture_default_str();
  command->add_option("--threads", options->threads, "0 takes one for each core")
      ->capture_default_str();
  command->add_flag("--verbose", options->verbose, "let the library report on stderr");
  command->footer(
      "Example:\n  tnl tokenizer train book.txt --vocab-size 4096 --output tokenizer.model");
  command->callback([options] {
    require(train_sentencepiece(*options));
    const auto tokenizer = require(load_tokenizer(options->output));
    fmt::print("{}: {} ids\n", options->output.string(), tokenizer->vocab_size());
  });
}

void add_conversion(CLI::App& parent) {
  struct Conversion {
    std::string input, output, prefix = "auto";
  };
  CLI::App* command = parent.add_subcommand(
      "convert", "write the vocabulary of a GGUF file as a SentencePiece model");
  const auto options = std::make_shared<Conversion>();
  command->add_option("input", options->input, "the .gguf file; its tensors are not read")
      ->required();
  command->add_option("-o,--output", options->output, "the .model file to write")->required();
  command
      ->add_option("--dummy-prefix", options->prefix,
                   "put a space in front of every text: yes, no, or auto, what the file says (yes "
                   "where it says nothing)")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->capture_default_str();
  command->footer(
      "Example:\n  tnl tokenizer convert ggml-vocab-baichuan.gguf --output tokenizer.model");
  command->callback([options] {
    std::optional<bool> prefix;
    if (options->prefix != "auto") prefix = options->prefix == "yes";
    require(convert_gguf_vocabulary(options->input, options->output, prefix));
    const auto tokenizer = require(load_tokenizer(options->output));
    fmt::print("{}: {} ids\n", options->output, tokenizer->vocab_size());
  });
}

CLI::App* add_use(CLI::App& parent, const char* name, const char* description,
                  void (*run)(const Options&), const std::shared_ptr<Options>& options) {
  CLI::App* command = parent.add_subcommand(name, description);
  command
      ->add_option("-t,--tokenizer", options->tokenizer,
                   "a .model, tokenizer.json or .tiktoken file, a directory with a tokenizer's "
                   "files, or \"bytes\"")
      ->required();
  command->callback([run, options] { run(*options); });
  return command;
}

}  // namespace

void add_tokenizer(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("tokenizer", "train a tokenizer; turn text into token ids and back");
  command->require_subcommand(1);
  add_training(*command);
  add_conversion(*command);
  auto options = std::make_shared<Options>();
  CLI::App* use = add_use(*command, "encode", "print the ids of a text", encode, options);
  use->add_option("files", options->files, "text files; none or \"-\": stdin");
  use->add_flag("--json", options->json, "as a JSON array, not separated by spaces");
  use->footer("Example:\n  echo 'Hello, world' | tnl tokenizer encode -t gpt2/");
  options = std::make_shared<Options>();
  use = add_use(*command, "decode", "print the text of ids", decode, options);
  use->add_option("files", options->files,
                  "files of ids, as encode prints them; none or \"-\": stdin");
  use->footer("Example:\n  echo '15496 11 995' | tnl tokenizer decode -t gpt2/");
  options = std::make_shared<Options>();
  use = add_use(*command, "info", "print kind, size and special ids", print_info, options);
  use->add_flag("--json", options->json, "as JSON");
  use->footer("Example:\n  tnl tokenizer info -t tokenizer.model");
  command->footer(
      "Examples:\n"
      "  tnl tokenizer train book.txt --vocab-size 4096 --output tokenizer.model\n"
      "  tnl tokenizer encode -t tokenizer.model book.txt > ids.txt\n"
      "  tnl tokenizer decode -t tokenizer.model ids.txt");
}

}  // namespace tnl::command
