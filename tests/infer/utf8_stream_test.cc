#include "infer/utf8_stream.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace tnl {
namespace {

const std::string kBad = "\xef\xbf\xbd";

std::string encode(std::uint32_t code) {
  const auto byte = [](std::uint32_t value) { return std::string(1, static_cast<char>(value)); };
  if (code < 0x80) return byte(code);
  const std::string last = byte(0x80 | (code & 63));
  if (code < 0x800) return byte(0xc0 | code >> 6) + last;
  const std::string third = byte(0x80 | (code >> 6 & 63));
  if (code < 0x10000) return byte(0xe0 | code >> 12) + third + last;
  return byte(0xf0 | code >> 18) + byte(0x80 | (code >> 12 & 63)) + third + last;
}

// Every character there is and every proper beginning of one, by enumeration; a character's own
// third and fourth byte are free, so the first of every 64 (4096) code points stands for all.
struct Characters {
  std::set<std::string> prefixes;
  Characters() {
    for (std::uint32_t code = 0x80; code < 0x110000; code += 64) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const std::string bytes = encode(code);
      for (std::size_t n = 1; n < bytes.size(); ++n) prefixes.insert(bytes.substr(0, n));
    }
  }
  bool whole(std::string_view bytes) const {
    if (bytes.size() == 1) return static_cast<unsigned char>(bytes[0]) < 0x80;
    return prefixes.count(std::string(bytes.substr(0, bytes.size() - 1))) != 0 &&
           (static_cast<unsigned char>(bytes.back()) & 0xc0) == 0x80 &&
           encode_length(bytes[0]) == bytes.size();
  }
  static std::size_t encode_length(char lead) {
    const auto byte = static_cast<unsigned char>(lead);
    return byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
  }
};

// One shot: a whole character, else the longest beginning of one as U+FFFD, else one byte.
std::string decode(std::string_view bytes) {
  static const Characters characters;
  std::string out;
  while (!bytes.empty()) {
    std::size_t taken = 0;
    for (std::size_t n = 1; n <= 4 && n <= bytes.size(); ++n) {
      if (characters.whole(bytes.substr(0, n))) {
        taken = n;
        break;
      }
    }
    if (taken > 0) {
      out += bytes.substr(0, taken);
    } else {
      out += kBad;
      taken = 1;
      for (std::size_t n = 2; n <= 3 && n <= bytes.size(); ++n) {
        if (characters.prefixes.count(std::string(bytes.substr(0, n))) != 0) taken = n;
      }
    }
    bytes.remove_prefix(taken);
  }
  return out;
}

std::string stream(const std::vector<std::string_view>& pieces) {
  Utf8Stream utf8;
  std::string out;
  for (const std::string_view piece : pieces) utf8.push(piece, out);
  utf8.flush(out);
  return out;
}

TEST(Utf8Stream, HoldsBackWhatIsNotWhole) {
  Utf8Stream utf8;
  std::string out;
  utf8.push("a\xe2", out);
  EXPECT_EQ(out, "a");
  utf8.push("\x82", out);
  EXPECT_EQ(out, "a");
  utf8.push("\xac", out);
  EXPECT_EQ(out, "a\u20ac");
  utf8.push("\xf0\x9f\x98", out);
  EXPECT_EQ(out, "a\u20ac");
  utf8.flush(out);
  EXPECT_EQ(out, "a\u20ac" + kBad);
  utf8.flush(out);
  EXPECT_EQ(out, "a\u20ac" + kBad);
}

TEST(Utf8Stream, EverySplitGivesTheSame) {
  const std::string text = "a\u00e9\u20ac\U0001f600\u4e2d\U0010ffffz\x80\xe2\x82!\xf0\x9f\x98";
  const std::string expected = decode(text);
  const std::string_view view = text;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    for (std::size_t j = i; j <= text.size(); ++j) {
      EXPECT_EQ(stream({view.substr(0, i), view.substr(i, j - i), view.substr(j)}), expected);
    }
  }
}

// Tables 3-8 to 3-11 of the Unicode standard.
TEST(Utf8Stream, ReplacesAsUnicodeRecommends) {
  const auto bad = [](int count) {
    std::string out;
    while (count-- > 0) out += kBad;
    return out;
  };
  EXPECT_EQ(stream({"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"}), bad(8) + "A");
  EXPECT_EQ(stream({"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"}), bad(8) + "A");
  EXPECT_EQ(stream({"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"}), bad(5) + "A" + bad(2) + "B");
  EXPECT_EQ(stream({"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"}), bad(4) + "A");
}

TEST(Utf8Stream, KeepsEveryCharacter) {
  for (std::uint32_t code = 0; code < 0x110000; code += code < 0x900 ? 1 : 37) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const std::string bytes = encode(code);
    ASSERT_EQ(stream({bytes}), bytes) << code;
  }
}

TEST(Utf8Stream, EqualsOneShotDecodingOfAnyBytes) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string bytes = {static_cast<char>(first), static_cast<char>(second), '\x80', 'x'};
      ASSERT_EQ(stream({bytes}), decode(bytes)) << first << ' ' << second;
    }
  }
  Rng rng(1);
  const unsigned char likely[] = {0x41, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2,
                                  0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5};
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    for (int i = 0; i < 12; ++i) bytes += static_cast<char>(likely[rng.below(sizeof likely)]);
    Utf8Stream utf8;
    std::string out;
    for (std::size_t begin = 0; begin < bytes.size();) {
      const std::size_t count = 1 + rng.below(4);
      utf8.push(std::string_view(bytes).substr(begin, count), out);
      begin += count;
      ASSERT_EQ(decode(out), out) << "not whole characters";
    }
    utf8.flush(out);
    ASSERT_EQ(out, decode(bytes));
  }
}

}  // namespace
}  // namespace tnl
