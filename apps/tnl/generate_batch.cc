#include "tnl/generate_batch.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <random>
#include <sstream>
#include <vector>

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "tnl/progress.h"

namespace tnl::command {
namespace {

using Clock = std::chrono::steady_clock;

struct Prompt {
  std::string text;
  nlohmann::json id;  // null: none
  std::optional<std::uint64_t> seed;
};

[[noreturn]] void refuse(const std::string& path, std::size_t line, const std::string& sentence) {
  throw Exit{kExitBadInput, fmt::format("{}, line {}: {}", path, line, sentence)};
}

// {"prompt": "...", "seed": 7, "id": ...}
Prompt parse_object(const std::string& path, std::size_t line, const std::string& text) {
  const nlohmann::json json = parse_json(text);
  if (!json.is_object()) refuse(path, line, "found no JSON object, expected one with \"prompt\"");
  Prompt prompt;
  for (const auto& [name, value] : json.items()) {
    std::int64_t number = 0;
    if (name == "prompt" && value.is_string()) {
      prompt.text = value.get<std::string>();
    } else if (name == "seed" && take_integer(value, number) && number >= 0) {
      prompt.seed = static_cast<std::uint64_t>(number);
    } else if (name == "id" && (value.is_string() || value.is_number())) {
      prompt.id = value;
    } else if (name == "prompt" || name == "seed" || name == "id") {
      const char* const expected = name == "prompt" ? "a string"
                                   : name == "seed" ? "an integer from 0 on"
                                                    : "a string or a number";
      refuse(path, line, fmt::format("{}: found {}, expected {}", name, shown(value), expected));
    } else {
      refuse(path, line, fmt::format("found a field {}, expected prompt, seed or id", shown(name)));
    }
  }
  if (!json.contains("prompt")) refuse(path, line, "prompt: found nothing, expected a string");
  return prompt;
}

std::vector<Prompt> read_prompts(const std::string& path) {
  const bool objects = std::filesystem::path(path).extension() == ".jsonl";
  std::ifstream file = open_text(path);
  std::istringstream text(read_text(file, path, "prompts"));
  std::vector<Prompt> prompts;
  std::size_t number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    prompts.push_back(objects ? parse_object(path, number, line)
                              : Prompt{.text = line, .id = {}, .seed = {}});
  }
  if (prompts.empty()) {
    throw Exit{kExitBadInput, fmt::format("{}: found no prompt, expected one a line", path)};
  }
  return prompts;
}

std::vector<BatchPrompt> encode(const BatchFlags& flags, const std::vector<Prompt>& prompts,
                                const Tokenizer& tokenizer, std::uint64_t seed) {
  std::vector<BatchPrompt> encoded(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    BatchPrompt& prompt = encoded[i];
    prompt.seed = prompts[i].seed.value_or(seed + i);
    require(tokenizer.encode_part(prompts[i].text, true, prompt.tokens));
    if (!prompt.tokens.empty()) continue;
    const std::int32_t start = tokenizer.bos_id() >= 0 ? tokenizer.bos_id() : tokenizer.eos_id();
    if (start < 0) {
      throw Exit{kExitBadInput,
                 fmt::format("{}: prompt {} is empty and the tokenizer has no bos or eos to begin "
                             "a text with",
                             flags.prompts, i + 1)};
    }
    prompt.tokens = {start};
  }
  return encoded;
}

const char* name_of(StopReason reason) {
  switch (reason) {
    case StopReason::kMaxTokens:
      return "max_tokens";
    case StopReason::kEndOfText:
      return "end_of_text";
    case StopReason::kStopString:
      return "stop";
    default:
      return "cancelled";
  }
}

// Texts end in any order and are written in that of their prompts: a line each.
class Writer {
 public:
  explicit Writer(const std::string& path) : path_(path) {
    if (path.empty()) return;
    if (std::filesystem::is_directory(path)) {
      throw Exit{kExitBadInput,
                 fmt::format("--output: {} is a directory, expected the name of a file", path)};
    }
    Result<AtomicFile> file = AtomicFile::create(path);
    if (!file.ok()) throw Exit{kExitBadInput, "--output: " + file.status().message()};
    file_.emplace(std::move(file).value());
  }

  void expect(std::size_t prompts) { lines_.resize(prompts); }

  void add(std::size_t index, std::string line) {
    lines_[index] = std::move(line);
    for (; next_ < lines_.size() && !lines_[next_].empty(); ++next_) write(lines_[next_]);
  }

  // What is there, where texts before it are missing too; the file takes its name.
  void finish() {
    for (; next_ < lines_.size(); ++next_) {
      if (!lines_[next_].empty()) write(lines_[next_]);
    }
    if (file_) require(file_->commit());
  }

 private:
  void write(std::string& line) {
    line += '\n';
    if (file_) {
      require(file_->write(line));
    } else if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() ||
               std::fflush(stdout) != 0) {
      throw Exit{kExitFailed, "cannot write to standard output"};
    }
    line.clear();
    line.shrink_to_fit();
  }

  std::string path_;
  std::optional<AtomicFile> file_;
  std::vector<std::string> lines_;
  std::size_t next_ = 0;
};

std::string line_of(const BatchText& text, const Prompt& prompt, std::uint64_t seed) {
  nlohmann::ordered_json json;
  json["prompt"] = text.prompt;
  if (!prompt.id.is_null()) json["id"] = prompt.id;
  json["text"] = text.text;
  json["tokens"] = text.tokens.size();
  json["reason"] = name_of(text.reason);
  json["seed"] = seed;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

void BatchFlags::add(CLI::App& command) {
  const std::string group = "Many prompts";
  CLI::Option* const file =
      command
          .add_option("--prompts", prompts,
                      "a file of prompts, one a line; .jsonl: an object a line with prompt and, "
                      "where wanted, seed and id")
          ->type_name("FILE")
          ->group(group);
  command
      .add_option("--output", output,
                  "write the texts to this file, an object a line in the order of the prompts; "
                  "the default is standard output")
      ->type_name("FILE")
      ->needs(file)
      ->group(group);
  command
      .add_option("--batch", batch,
                  "texts generated at a time; 0 takes as many as the device can without changing "
                  "their bits")
      ->needs(file)
      ->capture_default_str()
      ->group(group);
}

void generate_batch(const ModelFlags& model_flags, const BatchFlags& flags,
                    const GenerateOptions& generation, std::optional<std::uint64_t> seed,
                    bool verbose) {
  const std::vector<Prompt> prompts = read_prompts(flags.prompts);
  Writer writer(flags.output);
  const std::uint64_t first_seed = seed ? *seed : std::uint64_t{std::random_device()()};
  const auto [model, tokenizer] = model_flags.load();
  const std::vector<BatchPrompt> encoded = encode(flags, prompts, *tokenizer, first_seed);
  writer.expect(prompts.size());
  catch_interrupts();

  const Clock::time_point start = Clock::now();
  Progress progress("generate", "texts");
  std::size_t texts = 0, tokens = 0;
  const Status status = generate_batch(
      model, *tokenizer, encoded,
      {.generate = generation, .batch = flags.batch, .prefill_chunk = 0},
      [&](BatchText text) {
        ++texts;
        tokens += text.tokens.size();
        writer.add(text.prompt, line_of(text, prompts[text.prompt], encoded[text.prompt].seed));
        progress.update(static_cast<std::int64_t>(texts),
                        static_cast<std::int64_t>(prompts.size()));
        return true;
      },
      [] { return !interrupt_requested(); });
  progress.finish();
  const bool interrupted = status.code() == StatusCode::kInterrupted;
  if (!status.ok() && !interrupted) require(status);
  writer.finish();
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (verbose) {
    fmt::print(stderr, "{} texts, {} tokens, {:.1f} tokens/s; first seed {}\n", texts, tokens,
               static_cast<double>(tokens) / std::max(seconds, 1e-9), first_seed);
  }
  if (interrupted) {
    throw Exit{kExitInterrupted,
               fmt::format("interrupted: {} of {} texts are written", texts, prompts.size())};
  }
}

}  // namespace tnl::command
