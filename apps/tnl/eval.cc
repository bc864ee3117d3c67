// tnl eval: how well a model predicts a text, or answers the items of a task.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "infer/evaluate.h"
#include "tnl/commands.h"
#include "tnl/eval_task.h"
#include "tnl/model_flags.h"
#include "tnl/progress.h"

namespace tnl::command {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  ModelFlags model;
  std::string text;
  TaskFlags task;
  EvaluateOptions evaluate;
  bool json = false;
};

// Bytes of a regular file, else -1.
std::int64_t size_of(const std::string& path) {
  std::error_code error;
  if (path == "-" || !std::filesystem::is_regular_file(path, error)) return -1;
  const auto bytes = std::filesystem::file_size(path, error);
  return error ? -1 : static_cast<std::int64_t>(bytes);
}

Result<Evaluation> evaluate_with_progress(const ModelFlags::Loaded& loaded, std::istream& text,
                                          const Options& options) {
  Progress progress("eval", "B");
  const std::int64_t total = size_of(options.text);
  const Clock::time_point start = Clock::now();
  return evaluate(
      loaded.model, *loaded.tokenizer, text, options.evaluate, [&](const Evaluation& now) {
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        progress.update(now.bytes, total,
                        fmt::format("{} tokens/s, {:.4f} bits a byte",
                                    std::llround(static_cast<double>(now.tokens) / seconds),
                                    now.bits_per_byte()));
        return !interrupt_requested();
      });
}

void print_text(const Evaluation& result, double rate) {
  fmt::print(
      "bytes           {}\n"
      "tokens          {}\n"
      "nats/token      {:.6f}\n"
      "perplexity      {:.4f}\n"
      "bits per byte   {:.6f}\n"
      "tokens/s        {:.1f}\n",
      result.bytes, result.tokens, result.nats_per_token(), result.perplexity(),
      result.bits_per_byte(), rate);
}

void print_json(const Options& options, const Evaluation& result, double rate) {
  const nlohmann::ordered_json json = {{"model", options.model.model},
                                       {"text", options.text},
                                       {"bytes", result.bytes},
                                       {"tokens", result.tokens},
                                       {"nats_per_token", result.nats_per_token()},
                                       {"perplexity", result.perplexity()},
                                       {"bits_per_byte", result.bits_per_byte()},
                                       {"lossless_tokenizer", result.lossless},
                                       {"tokens_per_second", rate}};
  // Names of files may hold bytes that are no UTF-8.
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void run(const Options& options) {
  if (options.text.empty() == options.task.task.empty()) {
    throw Exit{kExitBadInput,
               fmt::format("found {} --text {} --task, expected either --text or --task",
                           options.text.empty() ? "neither" : "both",
                           options.text.empty() ? "nor" : "and")};
  }
  if (!options.task.task.empty()) {
    catch_interrupts();
    return run_task(options.task, options.model, options.evaluate.chunk, options.json);
  }
  std::ifstream file;
  if (options.text != "-") file = open_text(options.text);
  catch_interrupts();
  const ModelFlags::Loaded loaded = options.model.load();
  const Clock::time_point start = Clock::now();
  const Result<Evaluation> result =
      evaluate_with_progress(loaded, options.text == "-" ? std::cin : file, options);
  if (!result.ok()) {
    const std::string name = options.text == "-" ? "standard input" : options.text;
    require(Status(result.status().code(), name + ": " + result.status().message()));
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const double rate = static_cast<double>(result->tokens) / std::max(seconds, 1e-9);
  if (!result->lossless) {
    fmt::print(stderr,
               "tnl: the tokenizer does not give the text back as it was: bits per byte is no code "
               "length of it\n");
  }
  if (options.json) {
    print_json(options, *result, rate);
  } else {
    print_text(*result, rate);
  }
}

}  // namespace

void add_eval(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "eval", "perplexity and bits per byte of a text of any length, or accuracy at a task");
  options->model.add(*command);
  command->add_option("--text", options->text, "the file with the text; - for standard input");
  options->task.add(*command);
  command
      ->add_option("--chunk", options->evaluate.chunk,
                   "tokens read at once; memory grows with it, the result does not change")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print the result as JSON");
  command->footer(
      "The state is carried from the first byte to the last: there is no window, and memory does\n"
      "not grow with the text. Every token counts; the first is predicted from the tokenizer's "
      "bos,\n"
      "or where it has none from the uniform distribution. So bits per byte is a code length of "
      "the\n"
      "whole text, to be held against that of a compressor.\n\n"
      "The items of a task are scored as lm-evaluation-harness does: acc takes the likeliest "
      "answer,\n"
      "acc_norm divides its log-likelihood by its characters.\n\n"
      "Examples:\n"
      "  tnl eval --model run --text book.txt\n"
      "  zcat book.txt.gz | tnl eval --model run/model --text - --json\n"
      "  tnl eval --model run --task piqa.jsonl.zst --task-format piqa\n"
      "  tnl eval --model run --task mmlu/ --task-format mmlu --shots 5 --json");
  command->callback([options] { run(*options); });
}

}  // namespace tnl::command
