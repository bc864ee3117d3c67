#include "infer/stop_strings.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace tnl {
namespace {

StopStrings make(const std::vector<std::string>& strings) {
  auto stop = StopStrings::create(strings);
  EXPECT_TRUE(stop.ok()) << stop.status().message();
  return std::move(stop).value();
}

TEST(StopStrings, HoldsBackAPossibleBeginning) {
  StopStrings stop = make({"END"});
  std::string out;
  EXPECT_FALSE(stop.push("the E", out));
  EXPECT_EQ(out, "the ");
  EXPECT_FALSE(stop.push("N", out));
  EXPECT_EQ(out, "the ");
  EXPECT_FALSE(stop.push("E", out));  // "ENE": the first two can no longer match
  EXPECT_EQ(out, "the EN");
  EXPECT_TRUE(stop.push("NDless", out));
  EXPECT_EQ(out, "the EN");
}

TEST(StopStrings, FindsAMatchThatOverlapsAFailedOne) {
  StopStrings stop = make({"aab"});
  std::string out;
  for (const char* piece : {"a", "a", "a"}) EXPECT_FALSE(stop.push(piece, out));
  EXPECT_EQ(out, "a");
  EXPECT_TRUE(stop.push("b", out));
  EXPECT_EQ(out, "a");
}

TEST(StopStrings, FlushGivesBackWhatNeverMatched) {
  StopStrings stop = make({"\n\nUser:"});
  std::string out;
  EXPECT_FALSE(stop.push("Hello\n\nUs", out));
  EXPECT_EQ(out, "Hello");
  stop.flush(out);
  EXPECT_EQ(out, "Hello\n\nUs");
}

TEST(StopStrings, TheFirstCompleteOneWinsThenTheLongest) {
  std::string out;
  EXPECT_TRUE(make({"abcd", "bc"}).push("xabcd", out));
  EXPECT_EQ(out, "xa");
  out.clear();
  EXPECT_TRUE(make({"c", "abc"}).push("xabcd", out));
  EXPECT_EQ(out, "x");
}

TEST(StopStrings, NoneLetsAllThrough) {
  StopStrings stop = make({});
  std::string out;
  EXPECT_FALSE(stop.push("text", out));
  EXPECT_EQ(out, "text");
}

TEST(StopStrings, RefusesWhatCannotMatch) {
  const auto empty = StopStrings::create({"a", ""});
  ASSERT_FALSE(empty.ok());
  EXPECT_EQ(empty.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(empty.status().message().find("stop string 2 is empty"), std::string::npos);
  const auto torn = StopStrings::create({"\xe2\x82"});
  ASSERT_FALSE(torn.ok());
  EXPECT_NE(torn.status().message().find("UTF-8"), std::string::npos);
}

// The definition, by search: the shortest beginning of the text that ends with a stop string.
bool reference(const std::vector<std::string>& strings, const std::string& text,
               std::string& before) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& string : strings) {
      if (string.size() <= end && text.compare(end - string.size(), string.size(), string) == 0) {
        longest = std::max(longest, string.size());
      }
    }
    if (longest > 0) {
      before = text.substr(0, end - longest);
      return true;
    }
  }
  before = text;
  return false;
}

std::size_t longest_beginning(const std::vector<std::string>& strings, const std::string& text) {
  std::size_t longest = 0;
  for (const std::string& string : strings) {
    for (std::size_t n = 1; n < string.size() && n <= text.size(); ++n) {
      if (text.compare(text.size() - n, n, string, 0, n) == 0) longest = std::max(longest, n);
    }
  }
  return longest;
}

TEST(StopStrings, EqualsSearchingTheWholeText) {
  Rng rng(1);
  const auto letters = [&](std::size_t count) {
    std::string text;
    while (text.size() < count) text += static_cast<char>('a' + rng.below(2));
    return text;
  };
  int matches = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> strings;
    while (strings.size() < 1 + rng.below(3)) strings.push_back(letters(1 + rng.below(6)));
    const std::string text = letters(rng.below(30));
    StopStrings stop = make(strings);
    std::string out, pushed;
    bool matched = false;
    for (std::size_t begin = 0; begin < text.size() && !matched;) {
      const std::string piece = text.substr(begin, 1 + rng.below(4));
      begin += piece.size();
      pushed += piece;
      matched = stop.push(piece, out);
      if (!matched) {
        ASSERT_EQ(out.size(), pushed.size() - longest_beginning(strings, pushed));
      }
    }
    if (!matched) stop.flush(out);
    std::string expected;
    ASSERT_EQ(matched, reference(strings, text, expected));
    ASSERT_EQ(out, expected);
    matches += matched ? 1 : 0;
  }
  EXPECT_GT(matches, 1000);
  EXPECT_LT(matches, 4900);
}

}  // namespace
}  // namespace tnl
