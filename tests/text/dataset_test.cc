// What tnl data pack leaves: the held-out split, the files, their damage.
#include "pack_support.h"
#include "text/document_reader.h"

namespace tnl::test {
namespace {

using Texts = std::vector<std::string>;

TEST(HeldOut, WholeDocumentsWhereThereAreEnough) {
  const test::TemporaryDirectory dir;
  std::string records;
  for (int i = 0; i < 1000; ++i) records += "{\"text\": \"document " + std::to_string(i) + "\"}\n";
  write(dir / "a.jsonl", records);
  PackOptions options = pack_options(dir, {"a.jsonl"});
  options.held_out = 0.1;
  const Dataset dataset = pack(options);
  const Texts train = texts(dataset, Split::kTrain), held_out = texts(dataset, Split::kHeldOut);
  EXPECT_NEAR(static_cast<double>(held_out.size()), 100, 40);
  std::set<std::string> all(train.begin(), train.end());
  all.insert(held_out.begin(), held_out.end());
  EXPECT_EQ(all.size(), 1000u);
  EXPECT_EQ(train.size() + held_out.size(), 1000u);
  options.seed = 2;
  options.output = dir / "packed2";
  EXPECT_NE(texts(pack(options), Split::kHeldOut), held_out);
}

// One text file: blocks of lines are held out, and both splits together are the text.
TEST(HeldOut, BlocksOfASingleFile) {
  const test::TemporaryDirectory dir;
  const std::string text = lines(20'000);
  write(dir / "a.txt", text);
  write(dir / "a.jsonl", nlohmann::json({{"text", text}}).dump() + "\n");
  for (const char* name : {"a.txt", "a.jsonl"}) {
    PackOptions options = pack_options(dir, {name}, std::string("packed-") + name);
    options.held_out = 0.05;
    const Dataset dataset = pack(options);
    const Texts train = texts(dataset, Split::kTrain), held_out = texts(dataset, Split::kHeldOut);
    EXPECT_GE(held_out.size(), 10u);
    EXPECT_NEAR(static_cast<double>(dataset.bytes(Split::kHeldOut)) / text.size(), 0.05, 0.02);
    EXPECT_EQ(
        static_cast<std::size_t>(dataset.bytes(Split::kTrain) + dataset.bytes(Split::kHeldOut)),
        text.size());
    std::set<std::string> seen;
    for (const Texts* part : {&train, &held_out}) {
      for (const std::string& document : *part) {
        EXPECT_EQ(document.back(), '\n');
        std::istringstream stream(document);
        for (std::string line; std::getline(stream, line);) {
          EXPECT_TRUE(seen.insert(line).second) << line;
        }
      }
    }
    EXPECT_EQ(seen.size(), 20'000u);
    // One eos, at the end of the file.
    EXPECT_EQ(dataset.tokens(Split::kTrain) + dataset.tokens(Split::kHeldOut),
              static_cast<std::int64_t>(text.size()) + 1);
  }
}

TEST(HeldOut, SmallTextsStillHaveAHeldOutSplit) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", lines(60));
  PackOptions options = pack_options(dir, {"a.txt"});
  options.held_out = 0.1;
  EXPECT_GT(pack(options).tokens(Split::kHeldOut), 0);
}

TEST(BlockEnd, PrefersLineEndsThenSpacesThenCharacters) {
  EXPECT_EQ(block_end("abc\ndef\nghi", 4, true), 4u);
  EXPECT_EQ(block_end("abc\ndef\nghi", 5, true), 8u);
  EXPECT_EQ(block_end("abcdefgh", 5, true), 0u);
  EXPECT_EQ(block_end("abcdefgh", 5, false), 8u);
  EXPECT_EQ(block_end("abc", 5, false), 3u);
  EXPECT_EQ(block_end("abcde fghijklmn", 4, true), 5u);
  EXPECT_EQ(block_end("abcdefghijklmn", 4, true), 8u);
  EXPECT_EQ(block_end("abcdefg\xc3\xa9xyz", 4, true), 7u);
  EXPECT_EQ(block_end("", 4, false), 0u);
}

TEST(DatasetFiles, DamageIsFound) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", lines(300));
  const Dataset dataset = pack(pack_options(dir, {"a.txt"}));
  const fs::path shard = dir / "packed/train-00000.bin", index = dir / "packed/index.json";
  const std::string good_shard = read(shard), good_index = read(index);
  const auto open_refused = [&](std::string_view words) {
    expect_refused(Dataset::open(dir / "packed").status(), words);
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{40}, good_shard.size() - 1}) {
    write(shard, good_shard.substr(0, size));
    open_refused("train-00000.bin");
  }
  write(shard, "X" + good_shard.substr(1));
  open_refused("not a file of packed tokens");
  std::string bent = good_shard;
  bent[8] = 9;
  write(shard, bent);
  open_refused("format version 9, expected 1");
  bent = good_shard;
  bent[20] = '\x7f';  // tokens
  write(shard, bent);
  open_refused("expected");
  bent = good_shard;
  bent[100] ^= 1;
  write(shard, bent);
  expect_refused(value(Dataset::open(dir / "packed")).verify(), "checksum");
  bent = good_shard;
  bent[65] = '\x7f';  // an id of 32 thousand
  write(shard, bent);
  expect_refused(value(Dataset::open(dir / "packed")).document(Split::kTrain, 0).status(),
                 "outside of the vocabulary");
  bent = good_shard;
  bent[bent.size() - 1] = '\x7f';  // the end of the last document
  write(shard, bent);
  expect_refused(value(Dataset::open(dir / "packed")).document(Split::kTrain, 0).status(),
                 "boundaries of document 0 are damaged");
  fs::remove(shard);
  open_refused("train-00000.bin");
  write(shard, good_shard);

  const auto index_refused = [&](const std::string& content, std::string_view words) {
    write(index, content);
    open_refused(words);
  };
  const auto changed = [&](const std::string& pointer, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(good_index);
    json[nlohmann::json::json_pointer(pointer)] = value;
    return json.dump();
  };
  index_refused("", "not the index");
  index_refused("[]", "not the index");
  index_refused(good_index.substr(0, good_index.size() / 2), "not the index");
  index_refused(changed("/version", 2), "format version 2, expected 1");
  index_refused(changed("/splits/train/tokens", -1), "\"tokens\" is not a number");
  index_refused(changed("/splits/train/tokens", "many"), "\"tokens\" is not a number");
  index_refused(changed("/splits/train/tokens", 5), "the sum over the shards");
  index_refused(changed("/splits/train/shards", 5), "an array of objects");
  index_refused(changed("/splits/train/shards/0/file", "../a"), "beside the index");
  index_refused(changed("/splits/train/shards/0/checksum", "xyz"), "16 hexadecimal digits");
  index_refused(changed("/splits/train/shards/0/checksum", "0123456789abcdef"), "expected by");
  index_refused(changed("/splits/heldout", nullptr), "\"heldout\" is not an object");
  index_refused(changed("/tokenizer/vocab_size", 0), "\"vocab_size\"");
  index_refused(changed("/tokenizer/vocab_size", 300), "for a vocabulary of 258");
  fs::remove(index);
  open_refused("index.json");
}

TEST(DatasetFiles, FingerprintFollowsTheContent) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", "one text");
  write(dir / "b.txt", "one Text");
  const std::string a = pack(pack_options(dir, {"a.txt"}, "packed-a")).fingerprint();
  EXPECT_EQ(pack(pack_options(dir, {"a.txt"}, "packed-a2")).fingerprint(), a);
  EXPECT_NE(pack(pack_options(dir, {"b.txt"}, "packed-b")).fingerprint(), a);
}

TEST(DatasetFiles, LargeVocabulariesTakeFourBytes) {
  const test::TemporaryDirectory dir;
  Gpt2Files files;
  for (int i = 0; i < 70'000; ++i) {
    files.vocabulary["Q" + std::to_string(i) + "Q"] = files.vocabulary.size();
  }
  const auto last = files.vocabulary.size();
  files.vocabulary["<|endoftext|>"] = last;
  files.save(dir / "gpt2");
  write(dir / "a.txt", "ab");
  PackOptions options = pack_options(dir, {"a.txt"});
  options.tokenizer = dir / "gpt2";
  const Dataset dataset = pack(options);
  EXPECT_EQ(value(dataset.document(Split::kTrain, 0)),
            (std::vector<std::int32_t>{'a', 'b', static_cast<std::int32_t>(last)}));
  EXPECT_EQ(fs::file_size(options.output / "train-00000.bin"), 64u + 16u + 16u);
}

}  // namespace
}  // namespace tnl::test
