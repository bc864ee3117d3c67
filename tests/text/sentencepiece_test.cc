// SentencePiece: training, lossless round trips, and agreement with the library itself.
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "support.h"
#include "text/sentencepiece.h"

namespace tnl::test {
namespace {

using Ids = std::vector<std::int32_t>;

// Prose and code of our own making, with indentation, tabs, blank lines and numbers.
std::string corpus() {
  static const char* const kWords[] = {"state", "decay",    "chunk", "segment", "head",
                                       "the",   "of",       "a",     "carries", "memory",
                                       "whole", "sequence", "one",   "speed"};
  Rng rng(11);
  std::string text;
  for (int line = 0; line < 3000; ++line) {
    text.append(4 * rng.below(4), ' ');
    if (rng.below(20) == 0) text += '\t';
    for (std::uint64_t words = 1 + rng.below(9); words > 0; --words) {
      text += kWords[rng.below(std::size(kWords))];
      text += rng.below(8) == 0 ? ", " : " ";
    }
    text += std::to_string(rng.below(1000));
    text += rng.below(4) == 0 ? ".\n\n" : ".\n";
  }
  return text;
}

class SentencePiece : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() { dir = std::make_unique<test::TemporaryDirectory>(); }
  static void TearDownTestSuite() { dir.reset(); }

  SentencePiece() : model(*dir / (std::string(GetParam()) + ".model")) {
    if (!fs::exists(model)) {
      write(*dir / "corpus.txt", corpus());
      expect_ok(train_sentencepiece({.inputs = {*dir / "corpus.txt"},
                                     .output = model,
                                     .vocab_size = 330,
                                     .model_type = GetParam()}));
    }
    tokenizer = value(load_tokenizer(model));
  }

  static std::unique_ptr<test::TemporaryDirectory> dir;
  fs::path model;
  std::shared_ptr<const Tokenizer> tokenizer;
};
std::unique_ptr<test::TemporaryDirectory> SentencePiece::dir;

INSTANTIATE_TEST_SUITE_P(Types, SentencePiece, testing::Values("bpe", "unigram"));

TEST_P(SentencePiece, IdsAreThoseOfTheReleasedVocabulary) {
  EXPECT_EQ(tokenizer->kind(), "sentencepiece");
  EXPECT_EQ(tokenizer->vocab_size(), 330);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_FALSE(tokenizer->special(0));
  EXPECT_TRUE(tokenizer->special(1));
  EXPECT_TRUE(tokenizer->special(2));
  EXPECT_FALSE(tokenizer->special(3));
  EXPECT_FALSE(tokenizer->special(-1));
}

TEST_P(SentencePiece, AnyBytesRoundTripAndPiecesConcatenate) {
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    std::string text = random_text(rng, 60);
    for (int i = 0; i < 10; ++i) text += static_cast<char>(rng.below(256));
    const Ids ids = encode(*tokenizer, text);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 0) << "unknown";
    std::string pieces;
    for (std::size_t i = 0; i < ids.size(); ++i) pieces += value(tokenizer->piece(ids[i], i == 0));
    EXPECT_EQ(value(tokenizer->decode(ids)), text);
    EXPECT_EQ(pieces, text);
  }
}

TEST_P(SentencePiece, EqualsTheLibraryOnOrdinaryText) {
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.Load(model.string()).ok());
  std::istringstream lines(corpus() + "  Other words, 1984\xc3\xa9\xe4\xbd\xa0!\t\tTabs\n");
  for (std::string line; std::getline(lines, line);) {
    std::vector<int> expected;
    ASSERT_TRUE(library.Encode(line + "\n", &expected).ok());
    EXPECT_EQ(encode(*tokenizer, line + "\n"), expected) << line;
    std::string text;
    ASSERT_TRUE(library.Decode(expected, &text).ok());
    EXPECT_EQ(value(tokenizer->decode(expected)), text);
  }
}

TEST_P(SentencePiece, PartsGiveTheIdsOfTheWhole) {
  Rng rng(2);
  const std::string whole = corpus();
  for (int round = 0; round < 200; ++round) {
    const std::string text =
        round % 2 == 0 ? random_text(rng, 100) : whole.substr(rng.below(whole.size() - 100), 100);
    const std::size_t cut = tokenizer->last_cut(text.substr(0, 1 + rng.below(text.size())));
    Ids ids;
    expect_ok(tokenizer->encode_part(text.substr(0, cut), true, ids));
    expect_ok(tokenizer->encode_part(text.substr(cut), cut == 0, ids));
    EXPECT_EQ(ids, encode(*tokenizer, text));
  }
}

TEST_P(SentencePiece, IdsOutOfRangeAreRefused) {
  expect_refused(tokenizer->decode(Ids{330}).status(), "token id 330 is outside");
  expect_refused(tokenizer->decode(Ids{-1}).status(), "token id -1 is outside");
}

TEST_P(SentencePiece, TrainingRepeatsItself) {
  for (const std::int64_t sentences : {0, 500}) {
    const auto train = [&](const char* name) {
      expect_ok(train_sentencepiece({.inputs = {*dir / "corpus.txt"},
                                     .output = *dir / name,
                                     .vocab_size = 320,
                                     .model_type = GetParam(),
                                     .max_sentences = sentences,
                                     .seed = 5}));
      return read(*dir / name);
    };
    EXPECT_EQ(train("one.model"), train("two.model"));
  }
}

TEST_P(SentencePiece, SavedModelLoadsAgain) {
  expect_ok(tokenizer->save(*dir / "saved"));
  EXPECT_EQ(read(*dir / "saved" / "tokenizer.model"), read(model));
  EXPECT_EQ(encode(*value(load_tokenizer(*dir / "saved")), "the state"),
            encode(*tokenizer, "the state"));
}

TEST_P(SentencePiece, RunsOfSpacesAndNewlinesBecomePieces) {
  const Ids ids = encode(*tokenizer, "        ");
  EXPECT_LE(ids.size(), 2u);
  if (GetParam() == std::string("bpe")) {
    EXPECT_LE(encode(*tokenizer, ".\n\n").size(), 2u);
  }
}

// A dummy prefix is one space that encoding adds and decoding drops.
TEST_P(SentencePiece, DummyPrefixIsAddedAndDropped) {
  const fs::path path = *dir / "prefix.model";
  write(path, read(model) + std::string("\x1a\x02\x18\x01", 4));  // add_dummy_prefix: true
  const auto prefixing = value(load_tokenizer(path));
  EXPECT_EQ(encode(*prefixing, "state of"), encode(*tokenizer, " state of"));
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.Load(path.string()).ok());
  for (const char* text : {"state of", " state", "  x", "\n", "", "\xe4\xbd\xa0"}) {
    std::vector<int> expected;
    ASSERT_TRUE(library.Encode(text, &expected).ok());
    EXPECT_EQ(encode(*prefixing, text), expected);
    EXPECT_EQ(value(prefixing->decode(expected)), text);
  }
  Ids ids = encode(*prefixing, "state");
  ids.insert(ids.begin(), 1);  // bos comes before the first piece
  EXPECT_EQ(value(prefixing->decode(ids)), "state");
}

TEST_P(SentencePiece, DamagedModelsAreRefused) {
  const std::string good = read(model);
  const fs::path path = *dir / "damaged.model";
  for (const std::string& bad :
       {std::string(), std::string("hello"), good.substr(0, good.size() / 2), good.substr(1),
        std::string(1000, '\0')}) {
    write(path, bad);
    expect_refused(load_tokenizer(path).status(), "damaged.model");
  }
  // Any other damage is refused or loads; what loads works.
  Rng rng(9);
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    for (std::uint64_t i = 0; i <= rng.below(4); ++i) {
      bad[rng.below(round % 2 == 0 ? 200 : bad.size())] = static_cast<char>(rng.below(256));
    }
    if (round % 5 == 0) bad.resize(rng.below(bad.size()));
    write(path, bad);
    const auto loaded = load_tokenizer(path);
    if (!loaded.ok()) continue;
    Ids ids;
    (void)(*loaded)->encode("the state of \xff\xe2\x96\x81 one", ids);
    for (const std::int32_t id : ids) EXPECT_TRUE((*loaded)->piece(id, false).ok());
  }
}

// A model of the library's own with a table of replacements, whole and with offsets and indices in
// it bent: the library follows them wherever they lead.
TEST(SentencePieceRules, AreReadWhereTheyStayInside) {
  const test::TemporaryDirectory dir;
  write(dir / "corpus.txt", corpus());
  ASSERT_TRUE(sentencepiece::SentencePieceTrainer::Train(
                  "--input=" + (dir / "corpus.txt").string() +
                  " --model_prefix=" + (dir / "rules").string() +
                  " --vocab_size=100 --normalization_rule_name=nmt_nfkc --minloglevel=2")
                  .ok());
  const std::string good = read(dir / "rules.model");
  ASSERT_TRUE(value(read_settings(good)).has_rules);
  const auto tokenizer = value(load_tokenizer(dir / "rules.model"));
  Ids wide, narrow;
  expect_ok(tokenizer->encode("\xef\xbc\xa1 state", wide));  // a full-width A
  expect_ok(tokenizer->encode("A state", narrow));
  EXPECT_EQ(wide, narrow);

  // The array begins with its root, four bytes behind the size of the array.
  const std::size_t normalizer = good.find("nmt_nfkc");
  ASSERT_NE(normalizer, std::string::npos);
  const std::size_t units = good.find('\x12', normalizer) + 4 + 4;  // tag, length, size
  Rng rng(3);
  int refused = 0;
  for (int round = 0; round < 40; ++round) {
    std::string bad = good;
    for (int byte = 0; byte < 4; ++byte) {
      bad[units + 4 * rng.below(60000) + 1 + rng.below(3)] = '\x7f';
    }
    const auto settings = read_settings(bad);
    if (settings.ok()) continue;
    ++refused;
    write(dir / "bad.model", bad);
    expect_refused(load_tokenizer(dir / "bad.model").status(), "replacements");
  }
  EXPECT_GT(refused, 0);
}

TEST(SentencePieceTraining, BadOptionsAreRefused) {
  const test::TemporaryDirectory dir;
  const fs::path text = dir / "text.txt", out = dir / "out.model";
  write(text, "a few words only\n");
  const auto refused = [](const SentencePieceTraining& options, std::string_view words) {
    expect_refused(train_sentencepiece(options), words);
  };
  refused({.inputs = {}, .output = out}, "no text files");
  refused({.inputs = {text}, .output = {}}, "no output");
  refused({.inputs = {dir / "nowhere"}, .output = out}, "nowhere");
  refused({.inputs = {dir.path()}, .output = out}, "expected a regular file");
  refused({.inputs = {text}, .output = out, .vocab_size = 100}, "vocabulary size 100");
  refused({.inputs = {text}, .output = out, .model_type = "word"}, "expected bpe or unigram");
  refused({.inputs = {text}, .output = out, .character_coverage = 1.5}, "character coverage 1.5");
  refused({.inputs = {text}, .output = out, .vocab_size = 4096},
          "cannot train a vocabulary of 4096");
  write(text, "");
  refused({.inputs = {text}, .output = out}, "no text in");
  write(text, "\xff\xfe\xff");
  refused({.inputs = {text}, .output = out}, "no text in");
  EXPECT_FALSE(fs::exists(out));
}

TEST(SentencePieceTraining, LongLinesAndStrangeBytesAreNoObstacle) {
  const test::TemporaryDirectory dir;
  std::string line;
  Rng rng(4);
  while (line.size() < 400'000)
    line += random_text(rng, 20) + std::string(1, '\0') + "of the state ";
  for (char& c : line) c = c == '\n' ? ' ' : c;
  write(dir / "text.txt", line);
  expect_ok(train_sentencepiece(
      {.inputs = {dir / "text.txt"}, .output = dir / "out.model", .vocab_size = 310}));
  const auto tokenizer = value(load_tokenizer(dir / "out.model"));
  EXPECT_EQ(value(tokenizer->decode(encode(*tokenizer, line))), line);
}

}  // namespace
}  // namespace tnl::test
