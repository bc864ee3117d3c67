// Byte-level BPE: hand-made ids, the plain definition of merging, long words, damaged files.
#include <chrono>
#include <cstdlib>

#include "support.h"
#include "text/byte_pair.h"

namespace tnl::test {
namespace {

using Ids = std::vector<std::int32_t>;

class Gpt2 : public testing::Test {
 protected:
  Gpt2() {
    small_gpt2().save(dir.path());
    tokenizer = value(load_tokenizer(dir.path()));
  }
  TempDir dir;
  std::shared_ptr<const Tokenizer> tokenizer;
};

TEST_F(Gpt2, HandMadeVectors) {
  EXPECT_EQ(tokenizer->kind(), "gpt2");
  EXPECT_EQ(tokenizer->vocab_size(), 269);
  EXPECT_EQ(tokenizer->eos_id(), 268);
  EXPECT_EQ(tokenizer->bos_id(), 268);
  EXPECT_EQ(encode(*tokenizer, "hello world"), (Ids{259, 264}));
  EXPECT_EQ(encode(*tokenizer, "hellhe"), (Ids{258, 256}));
  EXPECT_EQ(encode(*tokenizer, "llllo"), (Ids{257, 257, 'o'}));
  EXPECT_EQ(encode(*tokenizer, "lll"), (Ids{257, 'l'}));
  EXPECT_EQ(encode(*tokenizer, "\n\nx"), (Ids{'\n', '\n', 'x'}));  // two words
  EXPECT_EQ(encode(*tokenizer, "x\n\n"), (Ids{'x', 265}));
  EXPECT_EQ(encode(*tokenizer, "x    y"), (Ids{'x', 266, ' ', ' ', 'y'}));
  EXPECT_EQ(encode(*tokenizer, "\xc3\xa9\xff"), (Ids{267, 0xff}));
  EXPECT_EQ(encode(*tokenizer, ""), Ids{});
}

TEST_F(Gpt2, SpecialTextIsOnlyText) {
  const Ids ids = encode(*tokenizer, "<|endoftext|>");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 268), 0);
  EXPECT_EQ(value(tokenizer->decode(ids)), "<|endoftext|>");
  EXPECT_EQ(value(tokenizer->decode(Ids{259, 268, 264})), "hello world");
}

TEST_F(Gpt2, AnyBytesRoundTripAndPiecesConcatenate) {
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    std::string text = random_text(rng, 60);
    for (int i = 0; i < 10; ++i) text += static_cast<char>(rng.below(256));
    const Ids ids = encode(*tokenizer, text);
    std::string pieces;
    for (std::size_t i = 0; i < ids.size(); ++i) pieces += value(tokenizer->piece(ids[i], i == 0));
    EXPECT_EQ(value(tokenizer->decode(ids)), text);
    EXPECT_EQ(pieces, text);
  }
}

TEST_F(Gpt2, PartsGiveTheIdsOfTheWhole) {
  Rng rng(2);
  for (int round = 0; round < 200; ++round) {
    const std::string text = random_text(rng, 100);
    const std::size_t cut = tokenizer->last_cut(text.substr(0, 1 + rng.below(text.size())));
    Ids ids;
    expect_ok(tokenizer->encode_part(text.substr(0, cut), true, ids));
    expect_ok(tokenizer->encode_part(text.substr(cut), cut == 0, ids));
    EXPECT_EQ(ids, encode(*tokenizer, text));
  }
}

TEST_F(Gpt2, IdsOutOfRangeAreRefused) {
  expect_refused(tokenizer->decode(Ids{269}).status(), "token id 269 is outside");
  expect_refused(tokenizer->decode(Ids{-1}).status(), "token id -1 is outside");
  expect_refused(tokenizer->piece(1 << 30, true).status(), "outside of the vocabulary");
}

TEST_F(Gpt2, SavedFilesLoadAgain) {
  expect_ok(tokenizer->save(dir / "copy"));
  const auto copy = value(load_tokenizer(dir / "copy"));
  EXPECT_EQ(encode(*copy, "hello world"), (Ids{259, 264}));
}

TEST_F(Gpt2, OldFileNamesLoadToo) {
  fs::create_directory(dir / "old");
  fs::copy(dir / "vocab.json", dir / "old" / "encoder.json");
  fs::copy(dir / "merges.txt", dir / "old" / "vocab.bpe");
  EXPECT_EQ(encode(*value(load_tokenizer(dir / "old")), "hello world"), (Ids{259, 264}));
}

// Sennrich's loop as it is written: join all places of the earliest pair, until there is none.
Ids merge_by_definition(const MergeTable& table, Ids symbols) {
  for (;;) {
    MergeTable::Merge best;
    std::pair<std::int32_t, std::int32_t> pair;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto merge = table.find(symbols[i], symbols[i + 1]);
      if (merge.rank >= 0 && (best.rank < 0 || merge.rank < best.rank)) {
        best = merge;
        pair = {symbols[i], symbols[i + 1]};
      }
    }
    if (best.rank < 0) return symbols;
    Ids joined;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const bool here =
          i + 1 < symbols.size() && symbols[i] == pair.first && symbols[i + 1] == pair.second;
      joined.push_back(here ? best.id : symbols[i]);
      i += here ? 1 : 0;
    }
    symbols = joined;
  }
}

TEST(PairMerger, EqualsTheDefinition) {
  Rng rng(7);
  for (int round = 0; round < 300; ++round) {
    MergeTable table(40);
    std::int32_t next = 3;
    for (int rank = 0; rank < 40; ++rank) {
      const auto left = static_cast<std::int32_t>(rng.below(next));
      const auto right = static_cast<std::int32_t>(rng.below(next));
      if (table.insert(left, right, {rank, next})) ++next;
    }
    Ids symbols(rng.below(40));
    for (auto& symbol : symbols) symbol = static_cast<std::int32_t>(rng.below(3));
    Ids merged = symbols;
    PairMerger merger;
    merged.resize(merger.merge(table, merged));
    EXPECT_EQ(merged, merge_by_definition(table, symbols));
  }
}

TEST_F(Gpt2, TenMegabytesWithoutASpaceDoNotHang) {
  std::string text;
  while (text.size() < 10'000'000) text += "hellollhexx";
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = encode(*tokenizer, text);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  EXPECT_EQ(value(tokenizer->decode(ids)), text);
  EXPECT_EQ(ids[0], 259);
}

TEST(Gpt2Files, DamagedVocabulariesAreRefused) {
  const TempDir dir;
  const auto refused = [&](std::string_view words) {
    expect_refused(load_tokenizer(dir.path()).status(), words);
  };
  small_gpt2().save(dir.path());
  const std::string good = read(dir / "vocab.json");
  for (const char* bad : {"", "[1, 2]", "7", "{\"a\": ", "\xff\xfe"}) {
    write(dir / "vocab.json", bad);
    refused("expected one JSON object");
  }
  write(dir / "vocab.json", good.substr(0, good.size() / 2));
  refused("expected one JSON object");
  for (const char* id :
       {"\"7\"", "-1", "269", "1.5", "null", "99999999999999999999", "18446744073709551615"}) {
    Gpt2Files files = small_gpt2();
    files.vocabulary[spell("hello")] = nlohmann::json::parse(id);
    files.save(dir.path());
    refused("has the id");
  }
  Gpt2Files files = small_gpt2();
  files.vocabulary[spell("hello")] = 3;
  files.save(dir.path());
  refused("given to two tokens");
  files = small_gpt2();
  files.vocabulary.erase("Q");
  files.vocabulary["QQ"] = 'Q';
  files.save(dir.path());
  refused("no token for the byte 0x51");
  files = small_gpt2();
  files.vocabulary["\xe4\xbd\xa0"] = files.vocabulary.size();
  files.save(dir.path());
  refused("not spelled in GPT-2's byte alphabet");
  write(dir / "vocab.json", "{\"a\": 0, \"a\": 1}");
  refused("token \"a\" is listed twice");
}

TEST(Gpt2Files, DamagedMergesAreRefused) {
  const TempDir dir;
  small_gpt2().save(dir.path());
  const std::string good = read(dir / "merges.txt");
  const auto refused = [&](const std::string& line, std::string_view words) {
    write(dir / "merges.txt", good + line);
    expect_refused(load_tokenizer(dir.path()).status(), words);
    expect_refused(load_tokenizer(dir.path()).status(), "line 14");
  };
  refused("hello\n", "two tokens with one space");
  refused("a b c\n", "two tokens with one space");
  refused(" ab\n", "two tokens with one space");
  refused("x y\n", "expected both parts and what they join to");
  refused("he ll\n", "listed twice");
  refused("\xff q\n", "byte alphabet");
  write(dir / "merges.txt", good + "\n\n");
  EXPECT_TRUE(load_tokenizer(dir.path()).ok());
}

TEST(Gpt2Files, MissingFilesAreNamed) {
  const TempDir dir;
  expect_refused(load_tokenizer(dir.path()).status(), "no tokenizer in");
  write(dir / "vocab.json", "{}");
  expect_refused(load_tokenizer(dir.path()).status(), "no tokenizer in");
  expect_refused(load_tokenizer(dir / "nowhere").status(), "no tokenizer at");
}

TEST(ByteTokenizer, BytesAreIds) {
  const TempDir dir;
  const auto tokenizer = value(load_tokenizer("bytes"));
  EXPECT_EQ(tokenizer->vocab_size(), 258);
  EXPECT_EQ(encode(*tokenizer, std::string_view("a\0\xff", 3)), (Ids{'a', 0, 255}));
  EXPECT_EQ(value(tokenizer->decode(Ids{256, 'a', 0, 255, 257})), std::string("a\0\xff", 3));
  expect_refused(tokenizer->decode(Ids{258}).status(), "outside of the vocabulary");
  expect_ok(tokenizer->save(dir.path()));
  EXPECT_EQ(value(load_tokenizer(dir.path()))->kind(), "bytes");
  write(dir / "tnl_tokenizer.json", "{\"kind\": 3}");
  expect_refused(load_tokenizer(dir.path()).status(), "expected a JSON object");
}

// GPT-2's own vocabulary and published vectors, where TNL_SHARED_DATA names a folder that has them.
TEST(Gpt2Published, AllVectors) {
  const char* folder = std::getenv("TNL_SHARED_DATA");
  if (folder == nullptr) GTEST_SKIP() << "TNL_SHARED_DATA is not set";
  const fs::path data = fs::path(folder) / "tokenizer";
  const TempDir dir;
  fs::copy(data / "gpt2_encoder.json", dir / "encoder.json");
  fs::copy(data / "gpt2_vocab.bpe", dir / "vocab.bpe");
  const auto tokenizer = value(load_tokenizer(dir.path()));
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string inputs = read(data / "ggml-vocab-gpt-2.gguf.inp") + separator;
  std::istringstream outputs(read(data / "ggml-vocab-gpt-2.gguf.out"));
  int count = 0;
  for (std::size_t end; (end = inputs.find(separator)) != std::string::npos; ++count) {
    const std::string text = inputs.substr(0, end);
    inputs.erase(0, end + separator.size());
    std::string line;  // none for the last one, which is the empty text
    ASSERT_TRUE(std::getline(outputs, line) || text.empty());
    std::istringstream numbers(line);
    Ids expected;
    for (std::int32_t id; numbers >> id;) expected.push_back(id);
    EXPECT_EQ(encode(*tokenizer, text), expected) << text;
    EXPECT_EQ(value(tokenizer->decode(expected)), text);
  }
  EXPECT_EQ(count, 47);
}

}  // namespace
}  // namespace tnl::test
