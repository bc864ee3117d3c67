// tnl generate: text from a prompt.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <random>

#include <fmt/format.h>

#include "tnl/commands.h"
#include "tnl/model_flags.h"
#include "tnl/session.h"

namespace tnl::command {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  ModelFlags model;
  std::optional<std::string> prompt;
  std::string prompt_file;
  GenerateOptions generate;
  std::optional<std::uint64_t> seed;
  bool ignore_eos = false;
  bool verbose = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string read_prompt(std::istream& stream, const std::string& name) {
  constexpr std::size_t kMost = std::size_t{1} << 28;
  std::string text;
  for (std::string block(1 << 16, '\0'); stream && text.size() <= kMost;) {
    stream.read(block.data(), static_cast<std::streamsize>(block.size()));
    text.append(block, 0, static_cast<std::size_t>(stream.gcount()));
  }
  if (text.size() > kMost) {
    throw Exit{kExitBadInput, fmt::format("{}: found a prompt of more than {} bytes", name, kMost)};
  }
  if (stream.bad()) throw Exit{kExitBadInput, fmt::format("cannot read the prompt from {}", name)};
  if (text.ends_with('\n')) text.pop_back();  // the one that ends every file and every echo
  return text;
}

std::string read_prompt(const Options& options) {
  if (options.prompt) return *options.prompt;
  if (!options.prompt_file.empty()) {
    std::ifstream file(options.prompt_file, std::ios::binary);
    if (!file) throw Exit{kExitBadInput, fmt::format("cannot open {}", options.prompt_file)};
    return read_prompt(file, options.prompt_file);
  }
  return ::isatty(STDIN_FILENO) == 1 ? std::string() : read_prompt(std::cin, "standard input");
}

std::vector<std::int32_t> encode_prompt(const Options& options, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  require(tokenizer.encode(read_prompt(options), ids));
  if (!ids.empty()) return ids;
  const std::int32_t start = tokenizer.bos_id() >= 0 ? tokenizer.bos_id() : tokenizer.eos_id();
  if (start < 0) {
    throw Exit{kExitBadInput,
               "the prompt is empty and the tokenizer has no bos or eos to begin a text with: give "
               "a --prompt"};
  }
  return {start};
}

// In pieces, so that Ctrl-C is heard.
void feed_prompt(Session& session, std::span<const std::int32_t> ids) {
  constexpr std::size_t kPiece = 2048;
  while (!ids.empty()) {
    if (interrupt_requested()) throw Exit{kExitInterrupted, ""};
    const auto piece = ids.first(std::min(kPiece, ids.size()));
    require(session.feed(piece));
    ids = ids.subspan(piece.size());
  }
}

const char* describe(StopReason reason) {
  switch (reason) {
    case StopReason::kMaxTokens:
      return "reached --max-tokens";
    case StopReason::kEndOfText:
      return "the model ended the text";
    case StopReason::kStopString:
      return "reached a stop string";
    default:
      return "interrupted";
  }
}

GenerateResult write_text(Session& session, const Tokenizer& tokenizer,
                          const GenerateOptions& options) {
  bool written = true, open_line = false;
  const GenerateResult result =
      require(generate(session, tokenizer, options, [&](std::string_view text) {
        if (!text.empty()) {
          written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
                    std::fflush(stdout) == 0;
          open_line = text.back() != '\n';
        }
        return written && !interrupt_requested();
      }));
  if (!written) throw Exit{kExitFailed, "cannot write to standard output"};
  // A file or a pipe gets the text and nothing else.
  if (open_line && ::isatty(STDOUT_FILENO) == 1) std::fputc('\n', stdout);
  std::fflush(stdout);
  return result;
}

void run(Options options) {
  require(validate(options.generate));  // before a large model is read
  options.generate.stop_at_eos = !options.ignore_eos;
  options.generate.sampler.seed =
      options.seed ? *options.seed : std::uint64_t{std::random_device()()};
  const auto [model, tokenizer] = options.model.load();
  const std::vector<std::int32_t> prompt = encode_prompt(options, *tokenizer);
  catch_interrupts();  // not before: a prompt may be waited for
  Session session = require(Session::create(model));

  const Clock::time_point start = Clock::now();
  feed_prompt(session, prompt);
  const double prompt_seconds = seconds_since(start);
  const Clock::time_point begin = Clock::now();
  const GenerateResult result = write_text(session, *tokenizer, options.generate);
  const double seconds = seconds_since(begin);

  if (options.verbose) {
    fmt::print(stderr,
               "prompt {} tokens, {:.1f} tokens/s; text {} tokens, {:.1f} tokens/s; {}; seed {}\n",
               prompt.size(), static_cast<double>(prompt.size()) / std::max(prompt_seconds, 1e-9),
               result.tokens, static_cast<double>(result.tokens) / std::max(seconds, 1e-9),
               describe(result.reason), options.generate.sampler.seed);
  }
  if (interrupt_requested()) throw Exit{kExitInterrupted, ""};
}

void add_sampler_options(CLI::App& command, Options& options) {
  // What people know from other tools as a good start for free text.
  SamplerOptions& sampler = options.generate.sampler;
  sampler.temperature = 0.8;
  sampler.top_k = 40;
  sampler.top_p = 0.95;
  sampler.min_p = 0.05;
  command.add_option("--temperature", sampler.temperature, "0 takes the most likely token")
      ->capture_default_str();
  command.add_option("--top-k", sampler.top_k, "draw from the K likeliest tokens; 0 for all")
      ->capture_default_str();
  command
      .add_option("--top-p", sampler.top_p,
                  "draw from the likeliest tokens that together reach this probability; 1 for all")
      ->capture_default_str();
  command
      .add_option("--min-p", sampler.min_p,
                  "drop tokens less likely than this times the likeliest; 0 for none")
      ->capture_default_str();
  command
      .add_option("--repetition-penalty", sampler.repetition_penalty,
                  "divides positive and multiplies negative logits of recent tokens; 1 for none")
      ->capture_default_str();
  command
      .add_option("--penalty-window", sampler.penalty_window,
                  "how many recent tokens the penalty looks at, the prompt's too")
      ->capture_default_str();
  command
      .add_option("--seed", options.seed,
                  "same seed, same text; the default is drawn anew, -v prints it")
      ->check(CLI::NonNegativeNumber);  // a negative one would wrap around
}

}  // namespace

void add_generate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("generate", "continue a prompt");
  options->model.add(*command);
  CLI::Option* prompt = command->add_option("-p,--prompt", options->prompt, "the text to continue");
  command
      ->add_option("--prompt-file", options->prompt_file,
                   "a file with it; without the last newline")
      ->check(CLI::ExistingPath & !CLI::ExistingDirectory)
      ->excludes(prompt);
  command->add_option("-n,--max-tokens", options->generate.max_tokens, "how many tokens at most")
      ->capture_default_str();
  add_sampler_options(*command, *options);
  command
      ->add_option("--stop", options->generate.stop,
                   "end before this text; may be given several times")
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", options->ignore_eos, "go on where the model ends the text");
  command->add_flag("-v,--verbose", options->verbose,
                    "print tokens, speed and seed to standard error");
  command->footer(
      "Without --prompt and --prompt-file the prompt comes from standard input (without the last\n"
      "newline); where that is a terminal, or the prompt is empty, the model begins a text.\n"
      "The steps of sampling in their order: repetition penalty, top-k, top-p, min-p, "
      "temperature.\n"
      "Ctrl-C ends the text, exit status 130.\n\n"
      "Examples:\n"
      "  tnl generate --model run -p \"Once upon a time\" -n 200\n"
      "  tnl generate --model run/model --temperature 0 --stop $'\\n\\n' < prompt.txt\n"
      "  tnl generate --model run -p \"def \" --seed 7 --repetition-penalty 1.1 -v");
  command->callback([options] { run(*options); });
}

}  // namespace tnl::command
