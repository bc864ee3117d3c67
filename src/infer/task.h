// Tasks that are answered by likelihood: which of several continuations a model prefers, or whether
// it names the last word. One form for all of them; docs/evaluation.md describes it as JSON Lines.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tnl/status.h"

namespace tnl {

struct TaskItem {
  std::string subject;                // results are given for each as well; empty: none
  std::string prefix;                 // before everything, the examples too
  std::vector<std::string> contexts;  // one for all choices, or one for each
  std::vector<std::string> choices;   // one for all contexts, or one for each
  std::int64_t gold = 0;              // the right one
  std::string delimiter = " ";        // between a context and its choice

  // A single one is a last-word item: right where every token of it is the likeliest.
  std::size_t answers() const { return std::max(contexts.size(), choices.size()); }
  const std::string& context(std::size_t answer) const {
    return contexts[contexts.size() == 1 ? 0 : answer];
  }
  const std::string& choice(std::size_t answer) const {
    return choices[choices.size() == 1 ? 0 : answer];
  }
};

// "items", the form of docs/evaluation.md, then the published ones in alphabetical order.
std::span<const std::string_view> task_formats();

// The items of a file, which may be compressed (.zst, .gz), or of all files of a directory (mmlu:
// its folder test; blimp: every .jsonl). An error names the file, the line or item, and what was
// expected there.
Result<std::vector<TaskItem>> read_task(const std::filesystem::path& path, std::string_view format);

// The examples that go with a task: those of `path`, or where it is empty the folder dev beside the
// folder test of an mmlu directory.
Result<std::vector<TaskItem>> read_examples(const std::filesystem::path& path,
                                            const std::filesystem::path& task,
                                            std::string_view format);

// Puts the first `count` examples of its subject with their right answers before the context of
// every item, each with an empty line behind it.
Status add_examples(std::span<const TaskItem> examples, std::int64_t count,
                    std::vector<TaskItem>& items);

// The item of one line of the form "items".
Result<TaskItem> parse_item(std::string_view line);

}  // namespace tnl
