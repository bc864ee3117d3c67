#include "infer/task.h"

#include <map>
#include <utility>

#include <fmt/format.h>

#include "core/json.h"
#include "core/try.h"

namespace tnl {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostAnswers = 256;

Status take_text(const Json& object, const char* name, std::string& text) {
  const auto found = object.find(name);
  if (found == object.end()) return {};
  if (!found->is_string()) {
    return invalid_argument(fmt::format("{} is {}, expected a string", name, shown(*found)));
  }
  text = found->get<std::string>();
  return {};
}

// A string under one name or a list of them under the other.
Status take_texts(const Json& object, const char* one, const char* several,
                  std::vector<std::string>& texts) {
  const auto single = object.find(one), list = object.find(several);
  if ((single == object.end()) == (list == object.end())) {
    return invalid_argument(fmt::format("expected either {} or {}", one, several));
  }
  if (single != object.end()) {
    texts.resize(1);
    return take_text(object, one, texts[0]);
  }
  if (!list->is_array() || list->size() < 2 || list->size() > kMostAnswers) {
    return invalid_argument(fmt::format("{} is {}, expected a list of 2 to {} strings", several,
                                        shown(*list), kMostAnswers));
  }
  for (const Json& text : *list) {
    if (!text.is_string()) {
      return invalid_argument(fmt::format("{} holds {}, expected strings", several, shown(text)));
    }
    texts.push_back(text.get<std::string>());
  }
  return {};
}

std::string with_answer(const TaskItem& example) {
  const auto gold = static_cast<std::size_t>(example.gold);
  return example.context(gold) + example.delimiter + example.choice(gold) + "\n\n";
}

}  // namespace

Result<TaskItem> parse_item(std::string_view line) {
  const Json json = parse_json(line);
  if (!json.is_object()) return invalid_argument("expected a JSON object");
  TaskItem item;
  TNL_TRY(take_text(json, "subject", item.subject));
  TNL_TRY(take_text(json, "prefix", item.prefix));
  TNL_TRY(take_text(json, "delimiter", item.delimiter));
  TNL_TRY(take_texts(json, "context", "contexts", item.contexts));
  TNL_TRY(take_texts(json, "continuation", "choices", item.choices));
  if (item.contexts.size() > 1 && item.choices.size() > 1) {
    return invalid_argument("expected one context or one continuation");
  }
  if (item.answers() == 1) return item;
  const auto gold = json.find("gold");
  const auto count = static_cast<std::int64_t>(item.answers());
  if (gold == json.end() || !take_integer(*gold, item.gold) || item.gold < 0 ||
      item.gold >= count) {
    return invalid_argument(fmt::format("gold is {}, expected the number of an answer from 0 to {}",
                                        gold == json.end() ? "missing" : shown(*gold), count - 1));
  }
  return item;
}

Status add_examples(std::span<const TaskItem> examples, std::int64_t count,
                    std::vector<TaskItem>& items) {
  struct Shots {
    std::string text;
    std::int64_t count = 0;
  };
  std::map<std::string, Shots, std::less<>> subjects;
  for (const TaskItem& example : examples) {
    Shots& shots = subjects[example.subject];
    if (shots.count == count) continue;
    shots.text += with_answer(example);
    ++shots.count;
  }
  for (TaskItem& item : items) {
    const auto shots = subjects.find(item.subject);
    if (shots == subjects.end() || shots->second.count < count) {
      return invalid_argument(fmt::format(
          "{} examples{}, expected at least {}", shots == subjects.end() ? 0 : shots->second.count,
          item.subject.empty() ? std::string() : " of the subject " + item.subject, count));
    }
    item.prefix += shots->second.text;
  }
  return {};
}

}  // namespace tnl
