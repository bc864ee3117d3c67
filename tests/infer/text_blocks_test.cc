#include "infer/text_blocks.h"

#include <sstream>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace tnl {
namespace {

std::vector<std::string> cut(const std::string& text, std::size_t at_least, std::size_t at_most) {
  std::istringstream stream(text);
  TextBlocks blocks(stream, at_least, at_most);
  std::vector<std::string> result;
  std::string block;
  while (true) {
    const auto more = blocks.next(block);
    EXPECT_TRUE(more.ok());
    if (!more.ok() || !*more) return result;
    result.push_back(block);
  }
}

using Blocks = std::vector<std::string>;

TEST(TextBlocks, EndAfterANewlineBeforeText) {
  EXPECT_EQ(cut("one\ntwo\nthree\n", 4, 100), (Blocks{"one\n", "two\n", "three\n"}));
  EXPECT_EQ(cut("one\ntwo\nthree\n", 5, 100), (Blocks{"one\ntwo\n", "three\n"}));
  EXPECT_EQ(cut("one\n\ntwo\n indented\n\tmore\r\nlast", 4, 100),
            (Blocks{"one\n\n", "two\n indented\n\tmore\r\n", "last"}));
}

TEST(TextBlocks, CutALongLineBetweenCharacters) {
  EXPECT_EQ(cut("abcdefghijk", 4, 6), (Blocks{"abcdef", "ghijk"}));
  EXPECT_EQ(cut("abcd\U0001f600xyz", 4, 6), (Blocks{"abcd", "\U0001f600xy", "z"}));
  EXPECT_EQ(cut("ab\u00e9\u00e9\u00e9", 4, 6), (Blocks{"ab\u00e9\u00e9", "\u00e9"}));
  // Bytes that are no text are cut where the limit is, give or take a character.
  const Blocks raw = cut(std::string(20, '\x80'), 4, 6);
  for (const std::string& block : raw) EXPECT_LE(block.size(), 6u);
}

TEST(TextBlocks, EmptyTextHasNone) {
  EXPECT_TRUE(cut("", 4, 6).empty());
}

TEST(TextBlocks, GiveTheTextBackWithinTheirBounds) {
  Rng rng(1);
  std::string text;
  while (text.size() < 3u << 20) {
    text.append(rng.below(rng.below(50) == 0 ? 300000 : 200), 'x');
    text += rng.below(4) == 0 ? "\n " : "\n";
  }
  std::string together;
  const Blocks blocks = cut(text, TextBlocks::kAtLeast, 1u << 18);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_LE(blocks[i].size(), 1u << 18);
    if (i + 1 < blocks.size()) {
      EXPECT_GE(blocks[i].size(), TextBlocks::kAtLeast);
    }
    together += blocks[i];
  }
  EXPECT_GT(blocks.size(), 12u);
  EXPECT_TRUE(together == text);
}

}  // namespace
}  // namespace tnl
