#include "core/printable.h"

#include <gtest/gtest.h>

namespace tnl {
namespace {

TEST(Printable, LeavesOrdinaryTextAlone) {
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable("weights/\xc3\xa9 \xe4\xbd\xa0"), "weights/\xc3\xa9 \xe4\xbd\xa0");
}

TEST(Printable, SpellsControlCharacters) {
  EXPECT_EQ(printable("a\nb\x1b[2J\x7f"), "a\\x0ab\\x1b[2J\\x7f");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\xc2\\x9b2J");  // one character in place of ESC [
  EXPECT_EQ(printable("\xc2\xa0\xc2"), "\xc2\xa0\xc2");
}

TEST(Printable, ShortensBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("ab\xe4\xbd\xa0z", 4), "ab...");
  EXPECT_EQ(printable("ab\xe4\xbd\xa0z", 5), "ab\xe4\xbd\xa0...");
  EXPECT_EQ(printable(std::string(100, 'x')).size(), 63u);
}

}  // namespace
}  // namespace tnl
