// The published files of tasks, turned into items as lm-evaluation-harness words them.
#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "core/json.h"
#include "core/printable.h"
#include "core/try.h"
#include "infer/csv.h"
#include "infer/task.h"
#include "text/compressed_file.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Items = std::vector<TaskItem>;

constexpr std::size_t kLargestFile = std::size_t{1} << 30;

constexpr auto kFormats = std::to_array<std::string_view>(
    {"items", "arc", "blimp", "boolq", "copa", "hellaswag", "lambada", "mmlu", "openbookqa", "piqa",
     "siqa", "winogrande", "wsc"});

Result<std::string> read_all(const fs::path& path) {
  TNL_ASSIGN(const auto file, CompressedFile::open(path));
  std::string text;
  std::string block(std::size_t{1} << 18, '\0');
  while (true) {
    TNL_ASSIGN(const std::size_t bytes, file->read(block.data(), block.size()));
    if (bytes == 0) return text;
    text.append(block, 0, bytes);
    if (text.size() > kLargestFile) {
      return invalid_argument(fmt::format("{}: found more than {} bytes of items, expected fewer",
                                          path.string(), kLargestFile));
    }
  }
}

Status located(const fs::path& path, std::string_view unit, std::size_t number,
               const Status& status) {
  return Status(status.code(),
                fmt::format("{}, {} {}: {}", path.string(), unit, number, status.message()));
}

// parse(line) for every line that is not blank.
Result<Items> each_line(const fs::path& path,
                        const std::function<Result<TaskItem>(std::string_view)>& parse) {
  TNL_ASSIGN(const std::string text, read_all(path));
  Items items;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Result<TaskItem> item = parse(line);
    if (!item.ok()) return located(path, "line", number, item.status());
    items.push_back(std::move(item).value());
  }
  return items;
}

// A JSON object with its fields under other names, which parse_item then checks.
Result<TaskItem> renamed(std::string_view line,
                         std::initializer_list<std::pair<const char*, const char*>> names) {
  const Json json = parse_json(line);
  if (!json.is_object()) return invalid_argument("expected a JSON object");
  Json item;
  for (const auto& [from, to] : names) {
    const auto found = json.find(from);
    if (found == json.end()) return invalid_argument(fmt::format("no field \"{}\"", from));
    item[to] = *found;
  }
  return parse_item(item.dump(-1, ' ', false, Json::error_handler_t::replace));
}

// llm-foundry's multiple choice: query, choices, gold. `ask` goes behind the query.
Result<TaskItem> multiple_choice(std::string_view line, std::string_view ask) {
  TNL_ASSIGN(TaskItem item,
             renamed(line, {{"query", "context"}, {"choices", "choices"}, {"gold", "gold"}}));
  item.contexts[0] += ask;
  return item;
}

Result<TaskItem> boolq(std::string_view line) {
  TNL_ASSIGN(TaskItem item, multiple_choice(line, "\nAnswer:"));
  constexpr std::string_view kPassage = "Passage: ";
  if (item.contexts[0].starts_with(kPassage)) item.contexts[0].erase(0, kPassage.size());
  return item;
}

Result<TaskItem> schema(std::string_view line) {
  return renamed(
      line, {{"context_options", "contexts"}, {"continuation", "continuation"}, {"gold", "gold"}});
}

Result<TaskItem> blimp(std::string_view line) {
  const Json json = parse_json(line);
  TaskItem item;
  item.contexts = {""};
  for (const char* name : {"sentence_good", "sentence_bad"}) {
    if (!json.is_object() || !json.contains(name) || !json[name].is_string()) {
      return invalid_argument(fmt::format("expected a JSON object with a string \"{}\"", name));
    }
    item.choices.push_back(json[name].get<std::string>());
  }
  if (json.contains("UID") && json["UID"].is_string()) {
    item.subject = json["UID"].get<std::string>();
  }
  return item;
}

// Six lines an item: "label: context", the number of the right ending, four endings.
Result<Items> hellaswag(const fs::path& path) {
  TNL_ASSIGN(const std::string text, read_all(path));
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    at = end + 1;
  }
  Items items;
  for (std::size_t at = 0; at < lines.size(); at += 6) {
    if (at + 6 > lines.size()) {
      return located(
          path, "line", at + 1,
          invalid_argument(fmt::format("found {} lines, expected six an item", lines.size() - at)));
    }
    const std::string& gold = lines[at + 1];
    if (gold.size() != 1 || gold[0] < '0' || gold[0] > '3') {
      return located(path, "line", at + 2,
                     invalid_argument("expected the number of the right ending, 0 to 3"));
    }
    TaskItem item;
    item.contexts = {lines[at]};
    item.choices.assign(lines.begin() + static_cast<std::ptrdiff_t>(at + 2),
                        lines.begin() + static_cast<std::ptrdiff_t>(at + 6));
    item.gold = gold[0] - '0';
    items.push_back(std::move(item));
  }
  return items;
}

// What lies between two marks, which `text` then begins behind; nothing where one is missing.
bool take_between(std::string_view& text, std::string_view before, std::string_view after,
                  std::string& part) {
  if (!text.starts_with(before)) return false;
  const std::size_t end = text.find(after, before.size());
  if (end == std::string_view::npos) return false;
  part = text.substr(before.size(), end - before.size());
  text.remove_prefix(end);
  return true;
}

Result<TaskItem> siqa_item(const Json& json) {
  const Status wrong = invalid_argument(
      "expected an instruction with a question, Answer1 to Answer3, and an answer1 to answer3");
  if (!json.is_object() || !json.contains("instruction") || !json.contains("answer") ||
      !json["instruction"].is_string() || !json["answer"].is_string()) {
    return wrong;
  }
  const auto instruction = json["instruction"].get<std::string>();
  const auto answer = json["answer"].get<std::string>();
  std::string_view text = instruction;
  std::string question;
  TaskItem item;
  item.choices.resize(3);
  if (!take_between(
          text, "Please choose the correct answer to the question: ", "\n\nAnswer1: ", question) ||
      !take_between(text, "\n\nAnswer1: ", " Answer2: ", item.choices[0]) ||
      !take_between(text, " Answer2: ", " Answer3: ", item.choices[1]) ||
      !take_between(text, " Answer3: ", "\n\nAnswer format: ", item.choices[2]) ||
      answer.size() != 7 || !answer.starts_with("answer") || answer[6] < '1' || answer[6] > '3') {
    return wrong;
  }
  item.contexts = {"Q: " + question + "\nA:"};
  item.gold = answer[6] - '1';
  return item;
}

Result<Items> siqa(const fs::path& path) {
  TNL_ASSIGN(const std::string text, read_all(path));
  const Json json = parse_json(text);
  if (!json.is_array()) {
    return invalid_argument(fmt::format("{}: expected a JSON list", path.string()));
  }
  Items items;
  for (const Json& entry : json) {
    Result<TaskItem> item = siqa_item(entry);
    if (!item.ok()) return located(path, "item", items.size() + 1, item.status());
    items.push_back(std::move(item).value());
  }
  return items;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// "abstract_algebra" of abstract_algebra_test.csv.
std::string subject_of(const fs::path& path) {
  std::string name = path.stem().string();
  for (const std::string_view end : {"_test", "_dev", "_val"}) {
    if (name.ends_with(end)) name.resize(name.size() - end.size());
  }
  return name;
}

// question, four choices, the right one as a number or a letter; with or without a line of titles.
Result<Items> mmlu(const fs::path& path) {
  TNL_ASSIGN(const std::string text, read_all(path));
  const std::string subject = subject_of(path);
  std::string words = subject;
  std::replace(words.begin(), words.end(), '_', ' ');
  CsvReader reader(text);
  Items items;
  for (std::vector<std::string> fields; reader.next(fields);) {
    if (fields.size() == 1 && trimmed(fields[0]).empty()) continue;
    if (items.empty() && fields.size() == 6 && fields[5] == "answer") continue;
    const std::string_view answer = trimmed(fields.back());
    const char gold = answer.size() == 1 ? answer[0] : '?';
    if (fields.size() != 6 || !((gold >= '0' && gold <= '3') || (gold >= 'A' && gold <= 'D'))) {
      return located(path, "line", reader.line(),
                     invalid_argument(fmt::format(
                         "found {} fields that end in \"{}\", expected a question, four choices "
                         "and the right one, 0 to 3 or A to D",
                         fields.size(), printable(answer, 20))));
    }
    TaskItem item;
    item.subject = subject;
    item.prefix = fmt::format(
        "The following are multiple choice questions (with answers) about {}.\n\n", words);
    item.contexts = {fmt::format("{}\nA. {}\nB. {}\nC. {}\nD. {}\nAnswer:", trimmed(fields[0]),
                                 fields[1], fields[2], fields[3], fields[4])};
    item.choices = {"A", "B", "C", "D"};
    item.gold = gold >= 'A' ? gold - 'A' : gold - '0';
    items.push_back(std::move(item));
  }
  return items;
}

Result<Items> read_file_of(const fs::path& path, std::string_view format) {
  const auto lines = [&](Result<TaskItem> (*parse)(std::string_view)) {
    return each_line(path, parse);
  };
  const auto choices = [&](std::string_view ask) {
    return each_line(path, [ask](std::string_view line) { return multiple_choice(line, ask); });
  };
  if (format == "arc") return choices("\nAnswer:");
  if (format == "piqa") return choices("Answer:");
  if (format == "openbookqa" || format == "copa") return choices("");
  if (format == "boolq") return lines(boolq);
  if (format == "winogrande" || format == "wsc") return lines(schema);
  if (format == "blimp") return lines(blimp);
  if (format == "hellaswag") return hellaswag(path);
  if (format == "siqa") return siqa(path);
  if (format == "mmlu") return mmlu(path);
  return lines(parse_item);  // lambada has its fields
}

// The files of a directory whose names end so, in order.
Result<std::vector<fs::path>> files_of(const fs::path& directory, std::string_view ending) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().string();
    for (const std::string_view packed : {".zst", ".gz"}) {
      if (name.ends_with(packed)) name.resize(name.size() - packed.size());
    }
    if (name.ends_with(ending)) files.push_back(entry->path());
  }
  if (files.empty()) {
    return not_found(
        fmt::format("{}: found no file whose name ends in {}", directory.string(), ending));
  }
  std::sort(files.begin(), files.end());
  return files;
}

Result<Items> read_directory(const fs::path& directory, std::string_view format) {
  if (format != "mmlu" && format != "blimp") {
    return invalid_argument(fmt::format("{}: found a directory, expected a file of the format {}",
                                        directory.string(), format));
  }
  std::error_code error;
  const bool folder = format == "mmlu" && fs::is_directory(directory / "test", error);
  TNL_ASSIGN(const auto files, files_of(folder ? directory / "test" : directory,
                                        format == "mmlu" ? ".csv" : ".jsonl"));
  Items items;
  for (const fs::path& file : files) {
    TNL_ASSIGN(Items more, read_file_of(file, format));
    std::move(more.begin(), more.end(), std::back_inserter(items));
  }
  return items;
}

}  // namespace

std::span<const std::string_view> task_formats() {
  return kFormats;
}

Result<Items> read_task(const fs::path& path, std::string_view format) {
  if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end()) {
    return invalid_argument(fmt::format("task format \"{}\", expected one of {}",
                                        std::string(format), fmt::join(kFormats, ", ")));
  }
  std::error_code error;
  const bool directory = fs::is_directory(path, error);
  TNL_ASSIGN(Items items, directory ? read_directory(path, format) : read_file_of(path, format));
  if (items.empty()) return invalid_argument(fmt::format("{}: found no items", path.string()));
  return items;
}

Result<Items> read_examples(const fs::path& path, const fs::path& task, std::string_view format) {
  if (!path.empty()) return read_task(path, format);
  std::error_code error;
  if (format == "mmlu" && fs::is_directory(task / "dev", error)) {
    return read_task(task / "dev", format);
  }
  return invalid_argument("examples are asked for, but no file to take them from is given");
}

}  // namespace tnl
