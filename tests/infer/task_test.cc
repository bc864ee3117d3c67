// The formats of tasks: small samples written here, and the published files where TNL_SHARED_DATA
// names a folder that has them.
#include "infer/task.h"

#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "infer/csv.h"
#include "support/temporary_directory.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

class Task : public ::testing::Test {
 protected:
  std::vector<TaskItem> read(const std::string& format, const std::string& content,
                             const std::string& name = "task") {
    auto items = read_task(directory.write(name, content), format);
    EXPECT_TRUE(items.ok()) << items.status().message();
    return items.ok() ? std::move(items).value() : std::vector<TaskItem>();
  }
  void refused(const std::string& format, const std::string& content, const std::string& words) {
    const auto items = read_task(directory.write("bad", content), format);
    ASSERT_FALSE(items.ok()) << content;
    EXPECT_EQ(items.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(items.status().message().find(words), std::string::npos) << items.status().message();
    EXPECT_NE(items.status().message().find("bad"), std::string::npos) << items.status().message();
  }
  test::TemporaryDirectory directory;
};

TEST_F(Task, ItemsInTheirOwnForm) {
  const auto items = read("items", R"({"context": "one", "choices": ["a", "b"], "gold": 1}

{"contexts": ["x", "y"], "continuation": "z", "gold": 0, "subject": "s", "delimiter": "-"}
{"context": "last", "continuation": "word", "prefix": "p"}
)");
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].contexts, Texts{"one"});
  EXPECT_EQ(items[0].choices, (Texts{"a", "b"}));
  EXPECT_EQ(items[0].gold, 1);
  EXPECT_EQ(items[0].delimiter, " ");
  EXPECT_EQ(items[1].answers(), 2u);
  EXPECT_EQ(items[1].context(1), "y");
  EXPECT_EQ(items[1].choice(1), "z");
  EXPECT_EQ(items[1].subject, "s");
  EXPECT_EQ(items[1].delimiter, "-");
  EXPECT_EQ(items[2].answers(), 1u);
  EXPECT_EQ(items[2].prefix, "p");
}

TEST_F(Task, PublishedFormsBecomeItems) {
  auto items = read("lambada", R"({"context": "I do not care about", "continuation": "signs"})");
  EXPECT_EQ(items[0].choices, Texts{"signs"});
  items = read("piqa", R"({"query": "Question: how?\n", "choices": ["so", "not so"], "gold": 0})");
  EXPECT_EQ(items[0].contexts, Texts{"Question: how?\nAnswer:"});
  items = read("arc", R"({"query": "Question: why?", "choices": ["a", "b", "c", "d"], "gold": 3})");
  EXPECT_EQ(items[0].contexts, Texts{"Question: why?\nAnswer:"});
  EXPECT_EQ(items[0].gold, 3);
  items = read("openbookqa", R"({"query": "Fog is", "choices": ["a", "b", "c", "d"], "gold": 2})");
  EXPECT_EQ(items[0].contexts, Texts{"Fog is"});
  items =
      read("boolq",
           R"({"query": "Passage: Text.\nQuestion: is it?", "choices": ["no", "yes"], "gold": 1})");
  EXPECT_EQ(items[0].contexts, Texts{"Text.\nQuestion: is it?\nAnswer:"});
  items = read("copa", R"({"query": "It rained, therefore", "choices": ["a", "b"], "gold": 1})");
  EXPECT_EQ(items[0].contexts, Texts{"It rained, therefore"});
  for (const char* format : {"winogrande", "wsc"}) {
    items =
        read(format, R"({"context_options": ["so A", "so B"], "continuation": "won.", "gold": 1})");
    EXPECT_EQ(items[0].contexts, (Texts{"so A", "so B"}));
    EXPECT_EQ(items[0].choices, Texts{"won."});
    EXPECT_EQ(items[0].gold, 1);
  }
  items =
      read("blimp", R"({"sentence_good": "It is.", "sentence_bad": "It are.", "UID": "verbs"})");
  EXPECT_EQ(items[0].contexts, Texts{""});
  EXPECT_EQ(items[0].choices, (Texts{"It is.", "It are."}));
  EXPECT_EQ(items[0].gold, 0);
  EXPECT_EQ(items[0].subject, "verbs");
  items = read("hellaswag", "Roof: A man. he\n3\nis\nhas\nwas\nstarts\nGame: B\n0\n1\n2\n3\n4\n");
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].contexts, Texts{"Roof: A man. he"});
  EXPECT_EQ(items[0].choices, (Texts{"is", "has", "was", "starts"}));
  EXPECT_EQ(items[0].gold, 3);
  items = read(
      "siqa",
      R"([{"instruction": "Please choose the correct answer to the question: Ann left. Why?\n\nAnswer1: to go Answer2: to stay Answer3: who knows\n\nAnswer format: answer1/answer2/answer3", "input": "", "output": "", "answer": "answer2"}])");
  EXPECT_EQ(items[0].contexts, Texts{"Q: Ann left. Why?\nA:"});
  EXPECT_EQ(items[0].choices, (Texts{"to go", "to stay", "who knows"}));
  EXPECT_EQ(items[0].gold, 1);
}

TEST_F(Task, MmluWithItsExamples) {
  const std::string titles = "question,choice0,choice1,choice2,choice3,answer\n";
  fs::create_directories(directory / "mmlu/test");
  fs::create_directories(directory / "mmlu/dev");
  directory.write("mmlu/test/high_school_art_test.csv",
                  titles + "\"What, then? \",one,\"two, three\",3,4,2\n");
  directory.write("mmlu/test/zoo_test.csv", "\"Two\nlines\",a,b,c,d,B\r\n");
  directory.write("mmlu/dev/high_school_art_dev.csv", titles + "E1,a,b,c,d,0\nE2,a,b,c,d,3\n");
  directory.write("mmlu/dev/zoo_dev.csv", titles + "Z1,a,b,c,d,1\n");
  auto items = read_task(directory / "mmlu", "mmlu").value();
  ASSERT_EQ(items.size(), 2u);
  const std::string head =
      "The following are multiple choice questions (with answers) about high school art.\n\n";
  EXPECT_EQ(items[0].prefix, head);
  EXPECT_EQ(items[0].subject, "high_school_art");
  EXPECT_EQ(items[0].contexts, Texts{"What, then?\nA. one\nB. two, three\nC. 3\nD. 4\nAnswer:"});
  EXPECT_EQ(items[0].choices, (Texts{"A", "B", "C", "D"}));
  EXPECT_EQ(items[0].gold, 2);
  EXPECT_EQ(items[1].subject, "zoo");
  EXPECT_EQ(items[1].contexts, Texts{"Two\nlines\nA. a\nB. b\nC. c\nD. d\nAnswer:"});
  EXPECT_EQ(items[1].gold, 1);

  const auto examples = read_examples("", directory / "mmlu", "mmlu").value();
  ASSERT_TRUE(add_examples(examples, 1, items).ok());
  EXPECT_EQ(items[0].prefix, head + "E1\nA. a\nB. b\nC. c\nD. d\nAnswer: A\n\n");
  EXPECT_NE(items[1].prefix.find("Z1\nA. a\nB. b\nC. c\nD. d\nAnswer: B\n\n"), std::string::npos);
  const Status few = add_examples(examples, 2, items);
  EXPECT_EQ(few.message(), "1 examples of the subject zoo, expected at least 2");
  EXPECT_FALSE(read_examples("", directory / "mmlu/test", "mmlu").ok());
}

TEST_F(Task, BlimpReadsTheFilesOfADirectory) {
  fs::create_directories(directory / "blimp");
  directory.write("blimp/b.jsonl", R"({"sentence_good": "3", "sentence_bad": "4", "UID": "b"})");
  directory.write("blimp/a.jsonl", R"({"sentence_good": "1", "sentence_bad": "2", "UID": "a"})");
  directory.write("blimp/README.md", "no items");
  const auto items = read_task(directory / "blimp", "blimp").value();
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].subject, "a");
  EXPECT_EQ(items[1].choices, (Texts{"3", "4"}));
}

TEST_F(Task, BadFilesAreRefused) {
  refused("items", "", "found no items");
  refused("items", "\n7\n", "line 2: expected a JSON object");
  refused("items", "{\"context\": ", "line 1: expected a JSON object");
  refused("items", R"({"context": "a"})", "expected either continuation or choices");
  refused("items", R"({"context": "a", "contexts": ["b", "c"], "continuation": "d"})",
          "expected either context or contexts");
  refused("items", R"({"context": 3, "continuation": "d"})", "context is 3, expected a string");
  refused("items", R"({"context": "a", "choices": ["b"], "gold": 0})", "expected a list of 2 to");
  refused("items", R"({"context": "a", "choices": ["b", 4], "gold": 0})", "choices holds 4");
  refused("items", R"({"context": "a", "choices": ["b", "c"]})", "gold is missing");
  refused("items", R"({"context": "a", "choices": ["b", "c"], "gold": 2})", "gold is 2");
  refused("items", R"({"context": "a", "choices": ["b", "c"], "gold": "1"})", "gold is \"1\"");
  refused("items", R"({"contexts": ["a", "b"], "choices": ["b", "c"], "gold": 1})",
          "one context or one continuation");
  refused("piqa", R"({"choices": ["b", "c"], "gold": 1})", "no field \"query\"");
  refused("blimp", R"({"sentence_good": "a"})", "\"sentence_bad\"");
  refused("hellaswag", "a\n1\nb\nc\nd\n", "found 5 lines, expected six");
  refused("hellaswag", "a\n4\nb\nc\nd\ne\n", "line 2: expected the number of the right ending");
  refused("siqa", "{}", "expected a JSON list");
  refused("siqa", "[{\"instruction\": \"?\", \"answer\": \"answer1\"}]", "item 1: expected");
  refused("mmlu", "q,a,b,c,d,0\nq,a,b,c,1\n", "line 2: found 5 fields");
  refused("mmlu", "q,a,b,c,d,E\n", "end in \"E\"");
  refused("mmlu", "\"q,a,b,c,d,0\n", "line 1: found 1 fields");
  const auto unknown = read_task(directory / "x", "squad");
  EXPECT_NE(unknown.status().message().find("task format \"squad\", expected one of items, arc"),
            std::string::npos);
  EXPECT_EQ(read_task(directory / "missing", "piqa").status().code(), StatusCode::kNotFound);
  EXPECT_NE(read_task(directory.path(), "piqa").status().message().find("found a directory"),
            std::string::npos);
}

TEST(Csv, QuotesNewlinesAndEmptyFields) {
  CsvReader reader("a,\"b,\"\"c\"\"\",\r\n\"x\ny\",z\n,\n\nlast");
  Texts fields;
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(fields, (Texts{"a", "b,\"c\"", ""}));
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(fields, (Texts{"x\ny", "z"}));
  EXPECT_EQ(reader.line(), 2u);
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(fields, (Texts{"", ""}));
  EXPECT_EQ(reader.line(), 4u);
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(fields, Texts{""});
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(fields, Texts{"last"});
  EXPECT_FALSE(reader.next(fields));
}

// The published files.
class PublishedTasks : public Task {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("TNL_SHARED_DATA");
    if (folder == nullptr) GTEST_SKIP() << "TNL_SHARED_DATA is not set";
    data = fs::path(folder) / "eval";
  }
  std::vector<TaskItem> items(const std::string& name, const std::string& format,
                              std::size_t count) {
    auto read = read_task(data / name, format);
    EXPECT_TRUE(read.ok()) << read.status().message();
    if (!read.ok()) return std::vector<TaskItem>(count);
    EXPECT_EQ(read->size(), count) << name;
    return std::move(read).value();
  }
  // What a shell command leaves of a packed file under `name`.
  bool unpack(const std::string& command) {
    const std::string line =
        fmt::format("cd {} && ( {} ) 2>/dev/null", directory.path().string(), command);
    return std::system(line.c_str()) == 0;
  }
  fs::path data;
};

TEST_F(PublishedTasks, OneJsonALine) {
  auto read = items("lambada_openai.jsonl.zst", "lambada", 5153);
  EXPECT_TRUE(read[0].contexts[0].starts_with("In my palm is a clear stone"));
  EXPECT_EQ(read[0].choices, Texts{"signs"});
  read = items("piqa.jsonl.zst", "piqa", 1838);
  EXPECT_EQ(read[1].contexts, Texts{"Question: dresser\nAnswer:"});
  EXPECT_EQ(read[1].gold, 1);
  read = items("arc_easy.jsonl.zst", "arc", 2376);
  EXPECT_EQ(read[1].choices,
            (Texts{"safety goggles", "breathing mask", "rubber gloves", "lead apron"}));
  EXPECT_EQ(read[1].gold, 1);
  read = items("arc_challenge.jsonl.zst", "arc", 1172);
  EXPECT_EQ(read[0].gold, 2);
  read = items("openbook_qa.jsonl.zst", "openbookqa", 500);
  EXPECT_EQ(read[1].contexts, Texts{"There is most likely going to be fog around:"});
  read = items("boolq.jsonl.zst", "boolq", 3270);
  EXPECT_TRUE(read[0].contexts[0].starts_with("All biomass goes through"));
  EXPECT_TRUE(
      read[0].contexts[0].ends_with("\nQuestion: does ethanol take more energy make that "
                                    "produces?\nAnswer:"));
  read = items("copa.jsonl.zst", "copa", 100);
  EXPECT_EQ(read[0].choices[1], "water flowed from the spout.");
  read = items("winogrande.jsonl.zst", "winogrande", 1267);
  EXPECT_EQ(read[0].contexts[1], "Sarah was a much better surgeon than Maria so Maria");
  read = items("winograd_wsc.jsonl.zst", "wsc", 273);
  EXPECT_EQ(read[1].choices, Texts{"advocated violence."});
  read = items("social_i_qa_dev.json.zst", "siqa", 1954);
  EXPECT_EQ(read[0].choices,
            (Texts{"make a new plan", "Go home and see Riley", "Find somewhere to go"}));
  EXPECT_EQ(read[0].gold, 2);
  EXPECT_TRUE(read[0].contexts[0].starts_with("Q: Tracy didn't go home that evening"));
  EXPECT_TRUE(read[0].contexts[0].ends_with("need to do before this?\nA:"));
}

TEST_F(PublishedTasks, Hellaswag) {
  const std::string packed = (data / "hellaswag_val_full.txt.bz2").string();
  if (!unpack("bzip2 -dc " + packed + " > hellaswag.txt")) GTEST_SKIP() << "no bzip2";
  const auto read = read_task(directory / "hellaswag.txt", "hellaswag").value();
  ASSERT_EQ(read.size(), 10042u);
  EXPECT_EQ(read[0].contexts, Texts{"Roof shingle removal: A man is sitting on a roof. he"});
  EXPECT_EQ(read[0].choices[3], "starts pulling up roofing on a roof.");
  EXPECT_EQ(read[0].gold, 3);
}

TEST_F(PublishedTasks, MmluAndBlimp) {
  for (const char* name : {"mmlu", "blimp"}) {
    const std::string packed = (data / fmt::format("{}.tar.zst", name)).string();
    if (!unpack("zstd -dc " + packed + " | tar x")) GTEST_SKIP() << "no zstd or tar";
  }
  auto items = read_task(directory / "mmlu", "mmlu").value();
  ASSERT_EQ(items.size(), 14042u);
  EXPECT_EQ(items[0].subject, "abstract_algebra");
  EXPECT_TRUE(items[0].contexts[0].ends_with("\nA. 0\nB. 4\nC. 2\nD. 6\nAnswer:"));
  EXPECT_EQ(items[0].gold, 1);
  EXPECT_EQ(items.back().subject, "world_religions");
  const auto examples = read_examples("", directory / "mmlu", "mmlu").value();
  EXPECT_EQ(examples.size(), 285u);
  EXPECT_TRUE(add_examples(examples, 5, items).ok());
  EXPECT_TRUE(items[0].prefix.ends_with("\nAnswer: A\n\n"));
  const auto pairs = read_task(directory / "blimp" / "data", "blimp").value();
  EXPECT_EQ(pairs.size(), 67000u);
  EXPECT_EQ(pairs[0].subject, "adjunct_island");
  EXPECT_EQ(pairs[0].choices[0], "Who should Derek hug after shocking Richard?");
}

}  // namespace
}  // namespace tnl
