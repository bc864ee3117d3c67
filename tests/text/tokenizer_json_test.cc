// tokenizer.json and tiktoken files: what other programs encode (tools/make_tokenizer_vectors.py),
// texts in parts, and damaged files.
#include <cstdlib>

#include "support.h"
#include "text/normalize.h"

namespace tnl::test {
namespace {

using Ids = std::vector<std::int32_t>;
using Json = nlohmann::json;

const fs::path kData = fs::path(TNL_TEST_DATA) / "tokenizers";

// The published settings of `config` in the file of the vocabulary.
Json configured(const Json& config) {
  Json file = Json::parse(read(kData / "base.json"));
  for (const char* part : {"pre_tokenizer", "normalizer", "added_tokens"}) {
    file[part] = config[part];
  }
  file["model"]["ignore_merges"] = config["ignore_merges"];
  return file;
}

// A directory with a tokenizer as `config` describes it.
void save(const Json& config, const fs::path& directory) {
  if (config["name"] != "tiktoken") {
    write(directory / "tokenizer.json", configured(config).dump());
    return;
  }
  write(directory / "base.tiktoken", read(kData / "base.tiktoken"));
  write(directory / "tiktoken_config.json",
        Json{{"words", config["words"]},
             {"special_tokens", {{"<|endoftext|>", 700}, {"<pad>", 702}}},
             {"eos_token", "<|endoftext|>"}}
            .dump());
}

class Vectors : public testing::Test {
 protected:
  template <class Visit>
  void each(const Visit& visit) const {
    const Json file = Json::parse(read(kData / "vectors.json"));
    const auto texts = file["texts"].get<std::vector<std::string>>();
    for (const Json& config : file["configs"]) {
      SCOPED_TRACE(config["name"].get<std::string>() + config.value("words", ""));
      const TemporaryDirectory dir;
      save(config, dir.path());
      visit(config, texts, value(load_tokenizer(dir.path())));
    }
  }
};

TEST_F(Vectors, IdsAreThoseOfOtherPrograms) {
  int compared = 0;
  each([&](const Json& config, const std::vector<std::string>& texts, const auto& tokenizer) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(encode(*tokenizer, texts[i]), config["ids"][i].get<Ids>()) << Json(texts[i]);
      ++compared;
    }
  });
  EXPECT_EQ(compared, 8 * 84);
}

TEST_F(Vectors, PartsGiveTheIdsOfTheWhole) {
  each([&](const Json&, const std::vector<std::string>& texts, const auto& tokenizer) {
    Rng rng(5);
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (int i = 0; i < 4; ++i) text += texts[rng.below(texts.size())] + random_text(rng, 20);
      const std::string_view whole = text;
      const std::size_t cut = tokenizer->last_cut(whole.substr(0, 1 + rng.below(whole.size())));
      Ids ids;
      expect_ok(tokenizer->encode_part(whole.substr(0, cut), true, ids));
      expect_ok(tokenizer->encode_part(whole.substr(cut), cut == 0, ids));
      EXPECT_EQ(ids, encode(*tokenizer, whole))
          << Json(text).dump(-1, ' ', true, Json::error_handler_t::replace) << " cut at " << cut;
    }
  });
}

TEST_F(Vectors, WhatIsNotNormalizedComesBack) {
  each([&](const Json& config, const std::vector<std::string>& texts, const auto& tokenizer) {
    const std::string name = config["name"];
    const bool composed = name == "qwen" || name == "added";
    if (name == "prefix" || name == "added_prefix") return;
    Rng rng(6);
    for (std::string text : texts) {
      text += random_text(rng, 20);
      const std::string back = value(tokenizer->decode(encode(*tokenizer, text)));
      if (composed) {  // an added token gives back its own spelling
        EXPECT_EQ(value(normalize_c(back)), value(normalize_c(text)));
      } else {
        EXPECT_EQ(back, text);
      }
    }
  });
}

TEST_F(Vectors, SavedFilesLoadAgain) {
  each([&](const Json&, const std::vector<std::string>& texts, const auto& tokenizer) {
    const TemporaryDirectory dir;
    expect_ok(tokenizer->save(dir.path()));
    const auto copy = value(load_tokenizer(dir.path()));
    EXPECT_EQ(copy->kind(), tokenizer->kind());
    EXPECT_EQ(copy->vocab_size(), tokenizer->vocab_size());
    EXPECT_EQ(copy->eos_id(), tokenizer->eos_id());
    for (const std::string& text : texts) EXPECT_EQ(encode(*copy, text), encode(*tokenizer, text));
  });
}

class TokenizerJson : public testing::Test {
 protected:
  TokenizerJson() : file(Json::parse(read(kData / "base.json"))) {}
  void refused(std::string_view words) {
    write(dir / "tokenizer.json", file.dump());
    expect_refused(load_tokenizer(dir.path()).status(), words);
    expect_refused(load_tokenizer(dir.path()).status(), "tokenizer.json: ");
    file = Json::parse(read(kData / "base.json"));
  }
  Json file;
  TemporaryDirectory dir;
};

TEST_F(TokenizerJson, MergesInBothSpellings) {
  write(dir / "tokenizer.json", file.dump());
  const Ids ids = encode(*value(load_tokenizer(dir.path())), "the state of the text");
  for (Json& merge : file["model"]["merges"]) {
    ASSERT_TRUE(merge.is_array());
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  write(dir / "strings" / "tokenizer.json", file.dump());
  EXPECT_EQ(
      encode(*value(load_tokenizer(dir / "strings" / "tokenizer.json")), "the state of the text"),
      ids);
}

TEST_F(TokenizerJson, BosAndEosComeFromTheFileBeside) {
  write(dir / "tokenizer.json", file.dump());
  auto tokenizer = value(load_tokenizer(dir.path()));
  EXPECT_EQ(tokenizer->bos_id(), 700);
  EXPECT_EQ(tokenizer->eos_id(), 700);
  EXPECT_TRUE(tokenizer->special(700));
  EXPECT_EQ(value(tokenizer->piece(700, true)), "");
  write(dir / "tokenizer_config.json",
        R"({"bos_token": null, "eos_token": {"content": "<|endoftext|>"}})");
  tokenizer = value(load_tokenizer(dir.path()));
  EXPECT_EQ(tokenizer->bos_id(), -1);
  EXPECT_EQ(tokenizer->eos_id(), 700);
  write(dir / "tokenizer_config.json", R"({"eos_token": "</s>"})");
  expect_refused(load_tokenizer(dir.path()).status(), "tokenizer_config.json: eos_token is");
  expect_refused(load_tokenizer(dir.path()).status(), "which the vocabulary does not have");
}

// A token that ends texts though its entry does not call it special: decoding leaves it out, so a
// text that spells it must not become it.
TEST_F(TokenizerJson, TheNameOfAnEndInATextIsText) {
  file["added_tokens"].push_back({{"id", 701}, {"content", "<end>"}, {"normalized", false}});
  write(dir / "tokenizer.json", file.dump());
  EXPECT_EQ(encode(*value(load_tokenizer(dir.path())), "<end>"), Ids{701});
  write(dir / "tokenizer_config.json", R"({"eos_token": "<end>"})");
  const auto tokenizer = value(load_tokenizer(dir.path()));
  EXPECT_EQ(tokenizer->eos_id(), 701);
  EXPECT_EQ(value(tokenizer->decode(encode(*tokenizer, "an <end> of"))), "an <end> of");
}

TEST_F(TokenizerJson, WhatIsNotSupportedIsNamed) {
  file["model"]["type"] = "WordPiece";
  refused("model's type is \"WordPiece\"");
  file["normalizer"] = {{"type", "Lowercase"}};
  refused("the normalizer is {\"type\":\"Lowercase\"}");
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFKC"}}}}};
  refused("NFKC");
  file["pre_tokenizer"] = nullptr;
  refused("the pre_tokenizer is null");
  file["pre_tokenizer"] = {{"type", "Metaspace"}};
  refused("Metaspace");
  file["pre_tokenizer"]["use_regex"] = false;
  refused("use_regex true");
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", "\\w+"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const Json level = {{"type", "ByteLevel"}, {"use_regex", false}, {"add_prefix_space", false}};
  file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, level}}};
  refused("the pattern of the Split is {\"Regex\":\"\\\\w+\"}");
  file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split}}};
  refused("the pre-tokenizer is {");
  file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array()}};
  refused("ends with ByteLevel");
  file["decoder"] = {{"type", "WordPiece"}};
  refused("the decoder is");
  file["model"]["byte_fallback"] = true;
  refused("byte_fallback");
  file["model"]["dropout"] = 0.1;
  refused("dropout is 0.1");
  file["model"]["end_of_word_suffix"] = "</w>";
  refused("end_of_word_suffix is \"</w>\"");
  file["added_tokens"].push_back({{"id", 701}, {"content", "<m>"}, {"lstrip", true}});
  refused("lstrip of the added token \"<m>\"");
}

TEST_F(TokenizerJson, DamagedFilesAreRefused) {
  for (const char* bad : {"", "7", "[]", "{", "\xff"}) {
    write(dir / "tokenizer.json", bad);
    expect_refused(load_tokenizer(dir.path()).status(), "tokenizer.json: expected one JSON object");
  }
  write(dir / "tokenizer.json", "{\"a\": " + std::string(100000, '['));
  EXPECT_FALSE(load_tokenizer(dir.path()).ok());
  file["model"] = 3;
  refused("no object \"model\"");
  file["model"].erase("vocab");
  refused("no object \"vocab\"");
  file["model"]["merges"] = 3;
  refused("no list \"merges\"");
  for (const char* id : {"-1", "1e9", "99999999", "\"7\"", "18446744073709551615", "null"}) {
    file["model"]["vocab"]["a"] = Json::parse(id);
    refused("token \"a\" has the id");
  }
  file["model"]["vocab"]["a"] = 0;
  refused("is given to two tokens");
  file["model"]["vocab"].erase("a");
  refused("no token for the byte 0x61");
  file["model"]["vocab"]["\xe4\xbd\xa0"] = 701;
  refused("not spelled in GPT-2's byte alphabet");
  for (const char* merge :
       {"\"ab\"", "\"a b c\"", "[\"a\"]", "[\"a\", 3]", "7", "\" b\"", "\"a \""}) {
    file["model"]["merges"].push_back(Json::parse(merge));
    refused("merge 444");
  }
  file["model"]["merges"].push_back(file["model"]["merges"][0]);
  refused("is listed twice");
  file["added_tokens"] = 3;
  refused("\"added_tokens\" is not a list");
  for (const char* token : {"{}", "7", "{\"id\": 701}", "{\"id\": -1, \"content\": \"x\"}",
                            "{\"id\": 701, \"content\": \"\"}"}) {
    file["added_tokens"].push_back(Json::parse(token));
    refused("the added token");
  }
  file["added_tokens"].push_back({{"id", 5}, {"content", "<y>"}});
  refused("the id 5 is given to two tokens");
  file["added_tokens"].push_back({{"id", 701}, {"content", "a"}});
  refused("but the vocabulary gives it 64");
}

class Tiktoken : public testing::Test {
 protected:
  void refused(std::string_view words) {
    expect_refused(load_tokenizer(dir.path()).status(), words);
  }
  void config(const std::string& text) { write(dir / "tiktoken_config.json", text); }
  void ranks(const std::string& text) { write(dir / "a.tiktoken", text); }
  const std::string good = read(kData / "base.tiktoken");
  TemporaryDirectory dir;
};

TEST_F(Tiktoken, SpecialTokensAreWhatTheConfigurationSays) {
  ranks(good);
  config(R"({"special_tokens": {"<|end|>": 702, "<s>": 700}, "bos_token": "<s>",
             "eos_token": "<|end|>"})");
  const auto tokenizer = value(load_tokenizer(dir / "a.tiktoken"));
  EXPECT_EQ(tokenizer->kind(), "tiktoken");
  EXPECT_EQ(tokenizer->vocab_size(), 703);
  EXPECT_EQ(tokenizer->bos_id(), 700);
  EXPECT_EQ(tokenizer->eos_id(), 702);
  EXPECT_TRUE(tokenizer->special(701));  // a gap
  EXPECT_EQ(value(tokenizer->decode(Ids{702, 701, 700})), "");
}

TEST_F(Tiktoken, AnUnknownSizeWantsAConfiguration) {
  ranks(good);
  refused("700 ranks are no vocabulary known by its size: expected a file tiktoken_config.json");
}

TEST_F(Tiktoken, DamagedFilesAreRefused) {
  config("{}");
  for (const char* line : {"IQ==", "IQ== x", "IQ== -1", " 5", "I 5", "=Q== 5", "IQ=Q 5", "I*== 5",
                           "IQ== 99999999999999999999", "IQ== 5 6"}) {
    ranks(good + line + "\n");
    refused("line 701: expected a token");
  }
  ranks(good + "YWJjYWJj 9999\n");
  refused("found the rank 9999 among 701 tokens");
  ranks(good + "YWJjYWJj 5\n");
  refused("the rank 5 is given to two tokens");
  ranks(good + "IQ== 700\n");
  refused("of the same token");
  ranks("IQ== 0\n");
  refused("no token for the byte 0x00");
  ranks("");
  refused("no token for the byte");
  ranks(good);
  for (const char* bad : {"", "[]", "7"}) {
    config(bad);
    refused("tiktoken_config.json: expected one JSON object");
  }
  config(R"({"words": "o200k"})");
  refused("words is \"o200k\"");
  config(R"({"special_tokens": [1]})");
  refused("special_tokens is not an object");
  for (const char* id : {"-1", "5", "1e9", "4797", "\"x\"", "18446744073709551615"}) {
    config(std::string(R"({"special_tokens": {"<s>": )") + id + "}}");
    refused("the special token \"<s>\" has the id");
  }
  config(R"({"eos_token": "<s>"})");
  refused("eos_token is \"<s>\", expected one of the special tokens");
  config("{}");
  write(dir / "b.tiktoken", good);
  refused("expected one .tiktoken file");
}

}  // namespace
}  // namespace tnl::test
