#include "tnl/eval_task.h"

#include <optional>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "infer/task_score.h"
#include "tnl/progress.h"

namespace tnl::command {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::vector<TaskItem> read_items(const TaskFlags& flags) {
  std::vector<TaskItem> items = require(read_task(flags.task, flags.format));
  const auto limit = static_cast<std::size_t>(flags.limit);
  if (limit > 0 && limit < items.size()) items.resize(limit);
  if (flags.shots == 0) return items;
  const auto examples = require(read_examples(flags.examples, flags.task, flags.format));
  require(add_examples(examples, flags.shots, items));
  return items;
}

std::string sample(const TaskItem& item, const ItemScore& score) {
  Json json = {{"item", score.item + 1}};
  if (!item.subject.empty()) json["subject"] = item.subject;
  json["log_likelihoods"] = score.log_likelihoods;
  if (item.answers() > 1) {
    json["gold"] = item.gold;
    json["chosen"] = score.chosen;
    json["chosen_norm"] = score.chosen_by_characters;
  }
  json["right"] = score.right;
  return dump(json, -1) + "\n";
}

Json as_json(const Accuracy& accuracy) {
  return {{"value", accuracy.mean()}, {"stderr", accuracy.standard_error()}};
}

Json as_json(const TaskScore& score, bool last_word) {
  Json json = {{"items", score.plain.of}, {"acc", as_json(score.plain)}};
  if (last_word) {
    json["perplexity"] = {{"value", score.perplexity()}, {"stderr", score.perplexity_error()}};
  } else {
    json["acc_norm"] = as_json(score.by_characters);
    json["acc_bytes"] = as_json(score.by_bytes);
  }
  return json;
}

void print_json(const TaskFlags& flags, const ModelFlags& model, const TaskResult& result) {
  Json json = {{"model", model.model},
               {"task", flags.task},
               {"format", flags.format},
               {"shots", flags.shots}};
  json.update(as_json(result.all, result.last_word));
  for (const auto& [subject, score] : result.subjects) {
    json["subjects"][subject] = as_json(score, result.last_word);
  }
  fmt::print("{}\n", dump(json, 2));
}

std::string percent(const Accuracy& accuracy) {
  return fmt::format("{:6.2f} ± {:<5.2f}", 100 * accuracy.mean(), 100 * accuracy.standard_error());
}

void print_row(const std::string& name, const TaskScore& score, bool last_word) {
  if (last_word) {
    fmt::print("{:<44} {:>6}  {}  {:.3f} ± {:.3f}\n", name, score.plain.of, percent(score.plain),
               score.perplexity(), score.perplexity_error());
  } else {
    fmt::print("{:<44} {:>6}  {}  {}\n", name, score.plain.of, percent(score.plain),
               percent(score.by_characters));
  }
}

void print_table(const TaskFlags& flags, const TaskResult& result) {
  fmt::print("{:<44} {:>6}  {:<14}  {}\n",
             flags.shots > 0 ? fmt::format("{} examples each", flags.shots) : "", "items", "acc %",
             result.last_word ? "perplexity" : "acc_norm %");
  for (const auto& [subject, score] : result.subjects) print_row(subject, score, result.last_word);
  print_row("all", result.all, result.last_word);
}

}  // namespace

void TaskFlags::add(CLI::App& command) {
  command.add_option("--task", task,
                     "a file of items to answer by likelihood (docs/evaluation.md); .zst and .gz "
                     "are unpacked");
  std::vector<std::string> formats;
  for (const std::string_view name : task_formats()) formats.emplace_back(name);
  command.add_option("--task-format", format, "how the file is written")
      ->check(CLI::IsMember(formats))
      ->capture_default_str();
  command.add_option("--shots", shots, "examples with their answers before every item")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command.add_option("--examples", examples,
                     "the file they are taken from, in the same format; mmlu has its own");
  command.add_option("--limit", limit, "only the first items; 0: all")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  command.add_flag("--bos", bos, "begin every context with the tokenizer's bos");
  command.add_option("--samples", samples,
                     "write a file with the log-likelihoods of every item, as JSON Lines");
}

void run_task(const TaskFlags& flags, const ModelFlags& model, std::int64_t chunk, bool json) {
  const std::vector<TaskItem> items = read_items(flags);
  const ModelFlags::Loaded loaded = model.load();
  TaskOptions options;
  options.chunk = chunk;
  options.bos = flags.bos;
  std::optional<AtomicFile> file;  // opened before the work, so that a wrong name costs nothing
  if (!flags.samples.empty()) file.emplace(require(AtomicFile::create(flags.samples)));
  std::string samples;
  const TaskResult result = [&] {
    Progress progress("eval", "items");
    return require(score_task(loaded.model, *loaded.tokenizer, items, options,
                              [&](const ItemScore& score, const TaskResult& now) {
                                if (file) samples += sample(items[score.item], score);
                                progress.update(
                                    static_cast<std::int64_t>(score.item) + 1,
                                    static_cast<std::int64_t>(items.size()),
                                    fmt::format("acc {:.1f} %", 100 * now.all.plain.mean()));
                                return !interrupt_requested();
                              }));
  }();
  if (file) {
    require(file->write(samples));
    require(file->commit());
  }
  if (json) {
    print_json(flags, model, result);
  } else {
    print_table(flags, result);
  }
}

}  // namespace tnl::command
