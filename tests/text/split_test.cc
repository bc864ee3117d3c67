// The words of GPT-2's and cl100k's patterns, against hand-made splits.
#include "support.h"
#include "text/cl100k_split.h"
#include "text/gpt2_split.h"
#include "text/normalize.h"
#include "text/unicode.h"

namespace tnl::test {
namespace {

using Words = std::vector<std::string>;

Words split(std::string_view text) {
  Words words;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = gpt2_word_end(text, at);
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

TEST(Gpt2Split, WordsNumbersAndPunctuation) {
  EXPECT_EQ(split("Hello, world 42x!"), (Words{"Hello", ",", " world", " 42", "x", "!"}));
  EXPECT_EQ(split("a_b"), (Words{"a", "_", "b"}));
  EXPECT_EQ(split(" ?!ab"), (Words{" ?!", "ab"}));
}

TEST(Gpt2Split, Contractions) {
  EXPECT_EQ(split("I'll we've it's"), (Words{"I", "'ll", " we", "'ve", " it", "'s"}));
  EXPECT_EQ(split("'llama 'x"), (Words{"'ll", "ama", " '", "x"}));
  EXPECT_EQ(split("I'LL"), (Words{"I", "'", "LL"}));
  EXPECT_EQ(split("a ''s"), (Words{"a", " ''", "s"}));
  EXPECT_EQ(split("x'r"), (Words{"x", "'", "r"}));
  EXPECT_EQ(split("'"), (Words{"'"}));
}

TEST(Gpt2Split, SpacesLeaveTheLastOneToTheNextWord) {
  EXPECT_EQ(split("a   b"), (Words{"a", "  ", " b"}));
  EXPECT_EQ(split("a\n\nb"), (Words{"a", "\n", "\n", "b"}));
  EXPECT_EQ(split("a \n b"), (Words{"a", " \n", " b"}));
  EXPECT_EQ(split("a  "), (Words{"a", "  "}));
  EXPECT_EQ(split("\t\tx"), (Words{"\t", "\t", "x"}));
  EXPECT_EQ(split(" "), (Words{" "}));
}

TEST(Gpt2Split, UnicodeClasses) {
  EXPECT_EQ(split("\xc3\xa9t\xc3\xa9 \xd0\x96\xd0\xb6"),
            (Words{"\xc3\xa9t\xc3\xa9", " \xd0\x96\xd0\xb6"}));
  EXPECT_EQ(split("3\xc2\xbd\xd9\xa3"), (Words{"3\xc2\xbd\xd9\xa3"}));  // 3½٣
  EXPECT_EQ(split("a\xc2\xa0\xe3\x80\x80z"), (Words{"a", "\xc2\xa0", "\xe3\x80\x80", "z"}));
  EXPECT_EQ(split("e\xcc\x81!"), (Words{"e", "\xcc\x81!"}));      // a mark is no letter
  EXPECT_EQ(split("a\xff\xc3z"), (Words{"a", "\xff\xc3", "z"}));  // invalid: other
}

TEST(Gpt2Split, LastCutIsWhereAWordEndsWhateverFollows) {
  EXPECT_EQ(gpt2_last_cut("ab cd ef"), 5u);
  EXPECT_EQ(gpt2_last_cut("ab   "), 2u);
  EXPECT_EQ(gpt2_last_cut("abc"), 0u);
  EXPECT_EQ(gpt2_last_cut(" a"), 0u);
  EXPECT_EQ(gpt2_last_cut("a\xc2\xa0 b"), 0u);
  EXPECT_EQ(gpt2_last_cut("\xe4\xbd\xa0\nb"), 3u);
  EXPECT_EQ(gpt2_last_cut(""), 0u);
}

TEST(Gpt2Split, PartsGiveTheWordsOfTheWhole) {
  Rng rng(3);
  for (int round = 0; round < 300; ++round) {
    const std::string text = random_text(rng, 80);
    const std::size_t seen = 1 + rng.below(text.size());
    const std::size_t cut = gpt2_last_cut(std::string_view(text).substr(0, seen));
    Words parts = split(text.substr(0, cut));
    for (const std::string& word : split(text.substr(cut))) parts.push_back(word);
    EXPECT_EQ(parts, split(text)) << cut;
  }
}

Words split_cl100k(std::string_view text, int digits = 3, bool whole_tail = false) {
  Words words;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = cl100k_word_end(text, at, digits, whole_tail);
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

TEST(Cl100kSplit, WordsNumbersAndPunctuation) {
  EXPECT_EQ(split_cl100k("Hello, world (x)"), (Words{"Hello", ",", " world", " (", "x", ")"}));
  EXPECT_EQ(split_cl100k("a_b \tc"), (Words{"a", "_b", " ", "\tc"}));
  EXPECT_EQ(split_cl100k("12345x 1"), (Words{"123", "45", "x", " ", "1"}));
  EXPECT_EQ(split_cl100k("123", 1), (Words{"1", "2", "3"}));
  EXPECT_EQ(split_cl100k("1\xc2\xbd\xd9\xa3\x34"), (Words{"1\xc2\xbd\xd9\xa3", "4"}));
  EXPECT_EQ(split_cl100k("!\r\n\nx"), (Words{"!\r\n\n", "x"}));
  EXPECT_EQ(split_cl100k(" ?!\n \n"), (Words{" ?!\n", " \n"}));
}

TEST(Cl100kSplit, ContractionsIgnoreCase) {
  EXPECT_EQ(split_cl100k("I'LL we'vE it's"), (Words{"I", "'LL", " we", "'vE", " it", "'s"}));
  EXPECT_EQ(split_cl100k("'\xc5\xbfx 'x"), (Words{"'\xc5\xbf", "x", " '", "x"}));  // long s
  EXPECT_EQ(split_cl100k("''x'r"), (Words{"''", "x", "'r"}));
  EXPECT_EQ(split_cl100k("'"), (Words{"'"}));
}

TEST(Cl100kSplit, SpacesEndAfterTheLastNewline) {
  EXPECT_EQ(split_cl100k("a \n  b"), (Words{"a", " \n", " ", " b"}));
  EXPECT_EQ(split_cl100k("a  \r\n \r"), (Words{"a", "  \r\n \r"}));
  EXPECT_EQ(split_cl100k("a \n  "), (Words{"a", " \n", "  "}));
  EXPECT_EQ(split_cl100k("a \n  ", 3, true), (Words{"a", " \n  "}));
  EXPECT_EQ(split_cl100k("a \n  b", 3, true), (Words{"a", " \n", " ", " b"}));
  EXPECT_EQ(split_cl100k("  1"), (Words{" ", " ", "1"}));
}

TEST(Cl100kSplit, LastCutIsWhereAWordEndsWhateverFollows) {
  EXPECT_EQ(cl100k_last_cut("ab cd ef"), 5u);
  EXPECT_EQ(cl100k_last_cut("a! \nb"), 2u);
  EXPECT_EQ(cl100k_last_cut("a!\nb"), 0u);  // the newline belongs to the punctuation
  EXPECT_EQ(cl100k_last_cut("a\nb"), 1u);
  EXPECT_EQ(cl100k_last_cut("1\nb"), 1u);
  EXPECT_EQ(cl100k_last_cut(""), 0u);
}

TEST(Cl100kSplit, PartsGiveTheWordsOfTheWhole) {
  Rng rng(3);
  for (int round = 0; round < 600; ++round) {
    const bool tail = round % 2 == 0;
    const std::string text = random_text(rng, 80);
    const std::size_t seen = 1 + rng.below(text.size());
    const std::size_t cut = cl100k_last_cut(std::string_view(text).substr(0, seen));
    Words parts = split_cl100k(text.substr(0, cut), 3, tail);
    for (const std::string& word : split_cl100k(text.substr(cut), 3, tail)) parts.push_back(word);
    EXPECT_EQ(parts, split_cl100k(text, 3, tail)) << cut;
  }
}

TEST(Unicode, NormalizationComposesAndKeepsBadBytes) {
  EXPECT_EQ(value(normalize_c("e\xcc\x81 \xe1\x84\x80\xe1\x85\xa1")), "\xc3\xa9 \xea\xb0\x80");
  EXPECT_EQ(value(normalize_c("\xe2\x84\xab")), "\xc3\x85");      // Angstrom sign
  EXPECT_EQ(value(normalize_c("\xef\xac\x81")), "\xef\xac\x81");  // a ligature stays
  EXPECT_EQ(value(normalize_c(std::string_view("e\xff\xcc\x81\0\xc3", 7))),
            std::string_view("e\xff\xcc\x81\0\xc3", 7));
  EXPECT_EQ(value(normalize_c("")), "");
}

TEST(Unicode, DecodingIsStrict) {
  const auto valid = [](std::string_view text) {
    const CodePoint point = decode_utf8(text, 0);
    return point.valid && point.bytes == text.size();
  };
  EXPECT_TRUE(valid("a"));
  EXPECT_TRUE(valid("\xc2\x80"));
  EXPECT_TRUE(valid("\xef\xbf\xbf"));
  EXPECT_TRUE(valid("\xf4\x8f\xbf\xbf"));
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x96", "\xe2\x28\xa1"}) {
    EXPECT_FALSE(decode_utf8(bad, 0).valid);
    EXPECT_EQ(decode_utf8(bad, 0).bytes, 1u);
  }
}

TEST(Unicode, AsciiShortCutAgreesWithTheTable) {
  for (std::uint32_t code = 0; code < 0x80; ++code) {
    std::uint32_t found = 0;
    for (std::size_t i = 0; i < kUnicodeChangeCount && kUnicodeChanges[i] >> 2 <= code; ++i) {
      found = kUnicodeChanges[i] & 3u;
    }
    EXPECT_EQ(static_cast<std::uint32_t>(code_class(code)), found) << code;
  }
}

}  // namespace
}  // namespace tnl::test
