// SentencePiece models from GGUF vocabularies: one written here field by field, and the published
// one of Baichuan.
#include <cstdlib>
#include <cstring>

#include <sentencepiece_processor.h>

#include "support.h"

namespace tnl::test {
namespace {

using Ids = std::vector<std::int32_t>;

// The metadata of a GGUF file, as its specification lays it out.
class GgufFile {
 public:
  void string(const std::string& key, const std::string& value) {
    begin(key, 8);
    text(value);
  }
  void uint32(const std::string& key, std::uint32_t value) {
    begin(key, 4);
    number(value);
  }
  void boolean(const std::string& key, bool value) {
    begin(key, 7);
    number<std::uint8_t>(value ? 1 : 0);
  }
  void strings(const std::string& key, const std::vector<std::string>& values) {
    begin(key, 9);
    number<std::uint32_t>(8);
    number<std::uint64_t>(values.size());
    for (const std::string& value : values) text(value);
  }
  template <class T>
  void numbers(const std::string& key, std::uint32_t type, const std::vector<T>& values) {
    begin(key, 9);
    number(type);
    number<std::uint64_t>(values.size());
    for (const T value : values) number(value);
  }
  std::string bytes() const {
    GgufFile head;
    head.body_ = "GGUF";
    head.number<std::uint32_t>(3);
    head.number<std::uint64_t>(0);
    head.number<std::uint64_t>(keys_);
    return head.body_ + body_;
  }

 private:
  void begin(const std::string& key, std::uint32_t type) {
    ++keys_;
    text(key);
    number(type);
  }
  void text(const std::string& value) {
    number<std::uint64_t>(value.size());
    body_ += value;
  }
  template <class T>
  void number(T value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  std::string body_;
  std::uint64_t keys_ = 0;
};

struct SmallVocabulary {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "<x>", "9"};
  std::vector<float> scores = {0, 0, 0, 0, 0};
  std::vector<std::int32_t> types = {2, 3, 3, 1, 1};

  SmallVocabulary() {
    for (int byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof(name), "<0x%02X>", byte);
      add(name, 0, 6);
    }
    float score = 0;
    for (const char* piece : {"ab",
                              "\xe2\x96\x81"
                              "a",
                              "abc", "\xe2\x96\x81", "a", "b", "c"}) {
      add(piece, score--, 1);
    }
  }
  void add(const std::string& token, float score, std::int32_t type) {
    tokens.push_back(token);
    scores.push_back(score);
    types.push_back(type);
  }
  GgufFile file() const {
    GgufFile file;
    file.uint32("general.something", 7);
    file.string("tokenizer.ggml.model", "llama");
    file.strings("tokenizer.ggml.tokens", tokens);
    file.numbers("tokenizer.ggml.scores", 6, scores);
    file.numbers("tokenizer.ggml.token_type", 5, types);
    return file;
  }
};

class Gguf : public testing::Test {
 protected:
  std::shared_ptr<const Tokenizer> converted(const std::string& file,
                                             std::optional<bool> prefix = std::nullopt) {
    write(dir / "v.gguf", file);
    expect_ok(convert_gguf_vocabulary(dir / "v.gguf", dir / "v.model", prefix));
    return value(load_tokenizer(dir / "v.model"));
  }
  void refused(const std::string& file, std::string_view words) {
    write(dir / "bad.gguf", file);
    const Status status = convert_gguf_vocabulary(dir / "bad.gguf", dir / "bad.model");
    expect_refused(status, words);
    expect_refused(status, "bad.gguf: ");
    EXPECT_FALSE(fs::exists(dir / "bad.model"));
  }
  TemporaryDirectory dir;
};

TEST_F(Gguf, HandMadeVectors) {
  const auto tokenizer = converted(SmallVocabulary().file().bytes());
  EXPECT_EQ(tokenizer->vocab_size(), 268);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  // 261 "ab", 262 " a", 263 "abc", 264 " ", 265 "a", 266 "b", 267 "c": "ab" joins before " a".
  EXPECT_EQ(encode(*tokenizer, "abc"), (Ids{264, 263}));
  EXPECT_EQ(encode(*tokenizer, "a cab"), (Ids{262, 264, 267, 261}));
  EXPECT_EQ(encode(*tokenizer, "<x>a9"), (Ids{264, 3, 265, 4}));  // user-defined
  EXPECT_EQ(encode(*tokenizer, "<s>z"), (Ids{264, 5 + '<', 5 + 's', 5 + '>', 5 + 'z'}));
  EXPECT_EQ(value(tokenizer->decode(Ids{264, 263, 3, 1})), "abc<x>");
}

TEST_F(Gguf, TheDummyPrefixIsAskedForSaidOrUsual) {
  GgufFile file = SmallVocabulary().file();
  EXPECT_EQ(encode(*converted(file.bytes(), false), "abc"), Ids{263});
  file.boolean("tokenizer.ggml.add_space_prefix", false);
  EXPECT_EQ(encode(*converted(file.bytes()), "abc"), Ids{263});
  EXPECT_EQ(encode(*converted(file.bytes(), true), "abc"), (Ids{264, 263}));
}

TEST_F(Gguf, EveryTruncationIsRefused) {
  const std::string whole = SmallVocabulary().file().bytes();
  for (std::size_t size = 0; size < whole.size(); size += size < 400 ? 1 : 97) {
    refused(whole.substr(0, size), "");
  }
}

TEST_F(Gguf, DamagedFilesAreRefused) {
  refused("GGML", "does not begin with \"GGUF\"");
  refused(std::string("GGUF\1\0\0\0", 8), "GGUF version 1");
  GgufFile file;
  refused(file.bytes(), "no key tokenizer.ggml.model");
  file.string("tokenizer.ggml.model", "gpt2");
  refused(file.bytes(), "is \"gpt2\", expected \"llama\"");
  file.string("tokenizer.ggml.model", "llama");
  refused(file.bytes(), "is there twice");
  std::string huge = SmallVocabulary().file().bytes();
  huge.replace(huge.find("<unk>") - 16, 8, std::string(8, '\x7f'));  // the count of the tokens
  refused(huge, "the file ends inside of tokenizer.ggml.tokens");
  SmallVocabulary vocabulary;
  vocabulary.scores.pop_back();
  refused(vocabulary.file().bytes(), "268 tokens, 267 scores and 268 types");
  vocabulary = {};
  vocabulary.types[7] = 9;
  refused(vocabulary.file().bytes(), "token 7 has the type 9");
  vocabulary = {};
  vocabulary.scores[7] = std::nanf("");
  refused(vocabulary.file().bytes(), "the score nan");
  vocabulary = {};
  vocabulary.tokens[266] = vocabulary.tokens[267];
  refused(vocabulary.file().bytes(), "SentencePiece refuses the vocabulary");
  vocabulary = {};
  vocabulary.tokens[5 + 65] = "\x01\n";  // a byte piece
  refused(vocabulary.file().bytes(), "\\x01\\x0a");
  file = SmallVocabulary().file();
  file.uint32("tokenizer.ggml.bos_token_id", 268);
  refused(file.bytes(), "bos_token_id is 268");
}

// The ids stand in reports of users of the published tokenizer: baichuan-inc/Baichuan-7B issue 48,
// hiyouga/LlamaFactory issue 177. They show the dummy prefix and the user-defined symbols.
TEST_F(Gguf, BaichuansVocabulary) {
  const char* folder = std::getenv("TNL_SHARED_DATA");
  if (folder == nullptr) GTEST_SKIP() << "TNL_SHARED_DATA is not set";
  const auto tokenizer =
      converted(read(fs::path(folder) / "tokenizer" / "ggml-vocab-baichuan.gguf"));
  EXPECT_EQ(tokenizer->vocab_size(), 64000);
  EXPECT_EQ(encode(*tokenizer, "What is your name?"), (Ids{2276, 715, 879, 1868, 81}));
  EXPECT_EQ(encode(*tokenizer, "<reserved_102>\u4f60\u597d<reserved_103>"),
            (Ids{31106, 195, 25211, 196}));
  EXPECT_EQ(encode(*tokenizer,
                   "<reserved_102> \u4f60\u597d<reserved_103> \u6211\u662f"
                   "\u4eba\u5de5\u667a\u80fd\u52a9\u7406"),
            (Ids{31106, 195, 9875, 31213, 196, 6323, 31161, 22073, 19745}));
  // The library itself, with the prefix its own way.
  sentencepiece::SentencePieceProcessor processor;
  ASSERT_TRUE(processor.Load((dir / "v.model").string()).ok());
  Rng rng(3);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    while (text.size() < 60) {
      static const char* const kPieces[] = {
          "the ", "state", "\n",     "  ", "42", "\u4f60\u597d", "\uff0c",
          "<br>", "<h2",   "\u00e9", "x",  ". ", "\t",           "```"};
      text += kPieces[rng.below(std::size(kPieces))];
    }
    std::vector<int> expected;
    ASSERT_TRUE(processor.Encode(text, &expected).ok());
    EXPECT_EQ(encode(*tokenizer, text), expected) << text;
    EXPECT_EQ(value(tokenizer->decode(expected)), text);
  }
}

}  // namespace
}  // namespace tnl::test
