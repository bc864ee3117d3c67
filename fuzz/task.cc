// A file of questions for tnl eval --task. The first byte picks the format.
#include "infer/task.h"

#include "fuzz/support.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  if (input.empty()) return;
  const auto formats = task_formats();
  const std::string format(formats[static_cast<unsigned char>(input.front()) % formats.size()]);
  input.remove_prefix(1);
  // What one folder of the task holds: the name decides for some of the formats.
  for (const char* name : {"a.jsonl", "test/a.csv", "dev/a.csv"}) {
    fs::create_directories(workplace().path(name).parent_path());
    workplace().write(name, input);
  }
  const AllocationLimit limit(input.size());
  for (const char* name : {"a.jsonl", "test/a.csv", "."}) {
    auto items = read_task(workplace().path(name), format);
    if (!items.ok()) {
      check_sentence(items.status());
      continue;
    }
    for (const TaskItem& item : *items) {
      FUZZ_CHECK(item.answers() > 0 && item.gold >= 0);
      FUZZ_CHECK(item.gold < static_cast<std::int64_t>(item.answers()));
      FUZZ_CHECK(item.contexts.size() == 1 || item.contexts.size() == item.answers());
      FUZZ_CHECK(item.choices.size() == 1 || item.choices.size() == item.answers());
    }
    const std::vector<TaskItem> examples = *items;
    if (const Status status = add_examples(examples, 2, *items); !status.ok()) {
      check_sentence(status);
    }
  }
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
