#include "infer/text_blocks.h"

#include <sstream>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "infer/table_tokenizer.h"
#include "support/require.h"

namespace tnl {
namespace {

using testing::TableTokenizer;
using Blocks = std::vector<std::string>;

Blocks cut(const std::string& text, std::size_t usual, std::size_t at_most) {
  const TableTokenizer tokenizer;  // cuts after spaces
  std::istringstream stream(text);
  TextBlocks blocks(stream, tokenizer, usual, at_most);
  Blocks result;
  std::string block;
  while (test::take(blocks.next(block))) result.push_back(block);
  return result;
}

TEST(TextBlocks, EndWhereTheTokenizerAllows) {
  EXPECT_EQ(cut("a b c d efg", 4, 100), (Blocks{"a b ", "c d ", "efg"}));
  EXPECT_EQ(cut("abcdefg hij k", 4, 100), (Blocks{"abcdefg ", "hij ", "k"}));
}

TEST(TextBlocks, EndAfterANewlineWhereItDoesNot) {
  EXPECT_EQ(cut("one\ntwo\nthree\nlast", 4, 9), (Blocks{"one\ntwo\n", "three\n", "last"}));
  EXPECT_EQ(cut("one\ntwo three\n", 4, 9), (Blocks{"one\ntwo ", "three\n"}));
}

TEST(TextBlocks, CutALongLineBetweenCharacters) {
  EXPECT_EQ(cut("abcdefghijk", 4, 6), (Blocks{"abcdef", "ghijk"}));
  EXPECT_EQ(cut("abcd\U0001f600xyz", 4, 6), (Blocks{"abcd", "\U0001f600xy", "z"}));
  EXPECT_EQ(cut("ab\u00e9\u00e9\u00e9", 4, 6), (Blocks{"ab\u00e9\u00e9", "\u00e9"}));
  // Bytes that are no text are cut where the limit is, give or take a character.
  for (const std::string& block : cut(std::string(20, '\x80'), 4, 6)) EXPECT_LE(block.size(), 6u);
}

TEST(TextBlocks, EmptyTextHasNone) {
  EXPECT_TRUE(cut("", 4, 6).empty());
}

TEST(TextBlocks, GiveTheTextBackWithinTheirBounds) {
  Rng rng(1);
  std::string text;
  while (text.size() < 3u << 20) {
    text.append(rng.below(rng.below(50) == 0 ? 400000 : 200), 'x');
    text += rng.below(4) == 0 ? "\n" : " ";
  }
  std::string together;
  for (const std::string& block : cut(text, TextBlocks::kUsual, 1u << 18)) {
    EXPECT_LE(block.size(), 1u << 18);
    together += block;
  }
  EXPECT_TRUE(together == text);
}

// Whole bytes are not lost where the stream breaks: it is an error.
TEST(TextBlocks, SayWhereTheStreamBreaks) {
  struct Broken : std::streambuf {
    int_type underflow() override { throw 1; }  // std::istream turns it into bad()
  } broken;
  std::istream stream(&broken);
  const TableTokenizer tokenizer;
  TextBlocks blocks(stream, tokenizer);
  std::string block;
  const auto more = blocks.next(block);
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.status().code(), StatusCode::kIo);
}

}  // namespace
}  // namespace tnl
