// bench/token_data.py, through which other programs read packed tokens: the same order, the same
// files.
#include <array>
#include <cstdio>
#include <sstream>

#include <fmt/format.h>

#include "pack_support.h"

namespace tnl::test {
namespace {

std::string run_script(const std::string& arguments) {
  const std::string command = std::string(TNL_PYTHON) + " " + TNL_TOKEN_DATA + " " + arguments;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  std::string out;
  std::array<char, 4096> buffer;
  for (std::size_t count; (count = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    out.append(buffer.data(), count);
  }
  EXPECT_EQ(::pclose(pipe), 0) << command;
  return out;
}

// Documents of random lengths, an empty one among them.
Dataset pack_documents(const test::TemporaryDirectory& dir, std::uint64_t seed,
                       std::string_view output) {
  Rng rng(seed);
  std::string records = "{\"text\": \"\"}\n";
  for (int document = 0; document < 40; ++document) {
    std::string text;
    for (std::uint64_t i = 0, size = 1 + rng.below(90); i < size; ++i) {
      text += static_cast<char>('a' + rng.below(26));
    }
    records += nlohmann::json({{"text", text}}).dump() + "\n";
  }
  write(dir / "a.jsonl", records);
  PackOptions options = pack_options(dir, {"a.jsonl"}, output);
  options.append_eos = false;
  options.shard_tokens = 500;
  return pack(options);
}

TEST(TokenData, ReadsTheBatchesOfTheLoader) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = pack_documents(dir, 5, "packed");
  ASSERT_GT(dataset.shards(Split::kTrain).size(), 1u);
  struct Case {
    std::int64_t length, tokens;
    std::uint64_t seed;
  };
  for (const auto& [length, tokens, seed] :
       {Case{16, 100, 1}, Case{64, 64, 7}, Case{1000, 33, 123456789}}) {
    DataLoader loader = value(DataLoader::create(
        dataset, {.sequence_length = length, .batch_tokens = tokens, .seed = seed}));
    std::istringstream lines(run_script(
        fmt::format("batches {} --sequence-length {} --batch-tokens {} --seed {} --count 60",
                    (dir / "packed").string(), length, tokens, seed)));  // two passes and more
    DataBatch batch;
    std::string line;
    for (int i = 0; i < 60; ++i) {
      ASSERT_TRUE(value(loader.next(batch)));
      ASSERT_TRUE(std::getline(lines, line)) << i;
      const auto json = nlohmann::json::parse(line);
      ASSERT_EQ(json["tokens"].get<std::vector<std::int32_t>>(), batch.tokens) << i;
      ASSERT_EQ(json["targets"].get<std::vector<std::int32_t>>(), batch.targets) << i;
      ASSERT_EQ(json["cu_seqlens"].get<std::vector<std::int64_t>>(), batch.cu_seqlens) << i;
    }
  }
}

TEST(TokenData, JoinsDocumentsIntoADatasetOfOurs) {
  const test::TemporaryDirectory dir;
  std::vector<std::int32_t> expected[2];
  const char* const names[] = {"train", "valid"};
  for (const int split : {0, 1}) {
    const Dataset part = pack_documents(dir, 8 + static_cast<std::uint64_t>(split), names[split]);
    for (std::int64_t d = 0; d < part.documents(Split::kTrain); ++d) {
      const auto ids = value(part.document(Split::kTrain, d));
      expected[split].insert(expected[split].end(), ids.begin(), ids.end());
    }
    expected[split].resize(expected[split].size() / 64 * 64);
  }
  run_script(fmt::format("join --train {} --held-out {} --multiple 64 -o {}",
                         (dir / "train").string(), (dir / "valid").string(),
                         (dir / "joined").string()));
  const Dataset joined = value(Dataset::open(dir / "joined"));
  expect_ok(joined.verify());
  EXPECT_EQ(joined.documents(Split::kTrain), 1);
  EXPECT_EQ(value(joined.document(Split::kTrain, 0)), expected[0]);
  EXPECT_EQ(value(joined.document(Split::kHeldOut, 0)), expected[1]);
}

}  // namespace
}  // namespace tnl::test
