// tnl generate: text from a prompt.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <random>

#include <fmt/format.h>

#include "core/file.h"
#include "tnl/commands.h"
#include "tnl/generate_batch.h"
#include "tnl/model_flags.h"
#include "tnl/session.h"

namespace tnl::command {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  ModelFlags model;
  std::optional<std::string> prompt;
  std::string prompt_file;
  BatchFlags batch;
  GenerateOptions generate;
  std::string load_state, save_state;
  std::optional<std::uint64_t> seed;
  bool ignore_eos = false;
  bool verbose = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string read_prompt(std::istream& stream, const std::string& name) {
  std::string text = read_text(stream, name, "a prompt");
  if (text.ends_with('\n')) text.pop_back();  // the one that ends every file and every echo
  return text;
}

std::string read_prompt(const Options& options) {
  if (options.prompt) return *options.prompt;
  if (!options.prompt_file.empty()) {
    std::ifstream file = open_text(options.prompt_file);
    return read_prompt(file, options.prompt_file);
  }
  return ::isatty(STDIN_FILENO) == 1 ? std::string() : read_prompt(std::cin, "standard input");
}

bool has_prompt(const Options& options) {
  return options.prompt.has_value() || !options.prompt_file.empty();
}

// Nothing where a saved text goes on by itself.
std::vector<std::int32_t> encode_prompt(const Options& options, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  const bool begins = options.load_state.empty();
  if (!begins && !has_prompt(options)) return ids;
  require(tokenizer.encode_part(read_prompt(options), begins, ids));
  if (!ids.empty() || !begins) return ids;
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
  constexpr std::size_t kPiece = 16384;  // whole passes
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

GenerateResult write_text(Session& session, const Tokenizer& tokenizer, const Options& options,
                          const std::string& before, GenerateState& state) {
  bool written = true, open_line = false;
  const auto write = [&](std::string_view text) {
    if (!text.empty()) {
      written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
                std::fflush(stdout) == 0;
      open_line = text.back() != '\n';
    }
    return written && !interrupt_requested();
  };
  write(before);
  GenerateState* kept = options.save_state.empty() && !state.begun ? nullptr : &state;
  const GenerateResult result =
      require(generate(session, tokenizer, options.generate, write, kept));
  const bool over = options.save_state.empty() && result.reason == StopReason::kMaxTokens;
  if (over) write(finish_text(state));
  if (!written) throw Exit{kExitFailed, "cannot write to standard output"};
  // A file or a pipe gets the text and nothing else.
  if (open_line && ::isatty(STDOUT_FILENO) == 1) std::fputc('\n', stdout);
  std::fflush(stdout);
  return result;
}

// Before the work: a long text is not to be lost for a typing error.
void check_can_save(const std::string& path) {
  if (path.empty()) return;
  if (std::filesystem::is_directory(path)) {
    throw Exit{kExitBadInput,
               fmt::format("--save-state: {} is a directory, expected the name of a file", path)};
  }
  const Result<AtomicFile> file = AtomicFile::create(path);
  if (!file.ok()) throw Exit{kExitBadInput, "--save-state: " + file.status().message()};
}

void run(Options options) {
  require(validate(options.generate));  // before a large model is read
  options.generate.stop_at_eos = !options.ignore_eos;
  if (!options.batch.prompts.empty()) {
    return generate_batch(options.model, options.batch, options.generate, options.seed,
                          options.verbose);
  }
  check_can_save(options.save_state);
  options.generate.sampler.seed =
      options.seed ? *options.seed : std::uint64_t{std::random_device()()};
  const auto [model, tokenizer] = options.model.load();
  const std::vector<std::int32_t> prompt = encode_prompt(options, *tokenizer);
  catch_interrupts();  // not before: a prompt may be waited for
  GenerateState state;
  Session session = options.load_state.empty()
                        ? require(Session::create(model))
                        : require(Session::load(model, options.load_state, &state));
  if (options.seed) state.begun = false;  // another branch of the text
  if (session.position() == 0 && prompt.empty()) {
    throw Exit{kExitBadInput,
               fmt::format("{} holds a session that has read nothing: give a --prompt",
                           options.load_state)};
  }
  // What was held back was the end of that text, if another follows it.
  const std::string before = prompt.empty() ? std::string() : finish_text(state);

  const Clock::time_point start = Clock::now();
  feed_prompt(session, prompt);
  const double prompt_seconds = seconds_since(start);
  const Clock::time_point begin = Clock::now();
  const GenerateResult result = write_text(session, *tokenizer, options, before, state);
  const double seconds = seconds_since(begin);
  if (!options.save_state.empty()) require(session.save(options.save_state, state));

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
      ->check(seed_range());
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
      ->excludes(prompt);
  options->batch.add(*command);
  command->get_option("--prompts")->excludes(prompt)->excludes("--prompt-file");
  command->add_option("-n,--max-tokens", options->generate.max_tokens, "how many tokens at most")
      ->capture_default_str();
  command
      ->add_option("--load-state", options->load_state,
                   "go on with the text that --save-state left in this file")
      ->type_name("FILE");
  command
      ->add_option(
          "--save-state", options->save_state,
          "leave the text in this file, to go on with it later; may be that of --load-state")
      ->type_name("FILE");
  for (const char* const name : {"--load-state", "--save-state"}) {
    command->get_option(name)->excludes("--prompts");
  }
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
      "Ctrl-C ends the text, exit status 130.\n"
      "A saved text belongs to its model and has one size, however long it is. With the same "
      "sampling\n"
      "options it goes on as if it had never stopped; a --seed makes it another branch, and a "
      "--prompt\n"
      "is read first (with --load-state none comes from standard input). What may be the beginning "
      "of\n"
      "a stop string, or is part of a character, is printed by the run that knows.\n"
      "--prompts gives every prompt the text it would get alone, with the seed of its line or "
      "--seed plus\n"
      "its place (0 for the first). Blank lines are skipped. A text is a line of JSON: prompt (the "
      "place), id,\n"
      "text, tokens, reason (max_tokens, end_of_text or stop), seed. Ctrl-C keeps those that "
      "ended.\n\n"
      "Examples:\n"
      "  tnl generate --model run -p \"Once upon a time\" -n 200\n"
      "  tnl generate --model run/model --temperature 0 --stop $'\\n\\n' < prompt.txt\n"
      "  tnl generate --model run -p \"def \" --seed 7 --repetition-penalty 1.1 -v\n"
      "  tnl generate --model run --prompt-file book.txt -n 0 --save-state book.state\n"
      "  tnl generate --model run --load-state book.state --seed 1\n"
      "  tnl generate --model run --prompts questions.jsonl --output answers.jsonl --seed 1");
  command->callback([options] { run(*options); });
}

}  // namespace tnl::command
