#include "core/json.h"

#include <gtest/gtest.h>

namespace tnl {
namespace {

std::string nested(int levels) {
  return std::string(static_cast<std::size_t>(levels), '[') +
         std::string(static_cast<std::size_t>(levels), ']');
}

TEST(Json, RefusesWhatNestsTooDeep) {
  EXPECT_TRUE(parse_json(nested(64)).is_array());
  EXPECT_TRUE(parse_json(nested(65)).is_discarded());
  EXPECT_TRUE(parse_json(std::string(10'000'000, '[')).is_discarded());
  EXPECT_TRUE(parse_json("{\"a\": " + nested(64) + "}").is_discarded());
  // Brackets in strings, behind escapes too, do not count.
  EXPECT_TRUE(parse_json("[\"" + std::string(100, '[') + "\\\"" + std::string(100, '{') + "\"]")
                  .is_array());
  std::string wide = "[";
  for (int i = 0; i < 1000; ++i) wide += "[],";
  EXPECT_TRUE(parse_json(wide + "0]").is_array());
}

TEST(Json, RefusesWhatIsNone) {
  for (const char* text : {"", "{", "[1,]", "nan", "\"\xff\"", "]["}) {
    EXPECT_TRUE(parse_json(text).is_discarded()) << text;
  }
}

TEST(Json, TakesIntegersThatFit) {
  std::int64_t value = 7;
  EXPECT_TRUE(take_integer(parse_json("9223372036854775807"), value));
  EXPECT_EQ(value, INT64_MAX);
  EXPECT_TRUE(take_integer(parse_json("-9223372036854775808"), value));
  EXPECT_EQ(value, INT64_MIN);
  for (const char* text : {"9223372036854775808", "18446744073709551615", "1.0", "\"1\"", "null"}) {
    EXPECT_FALSE(take_integer(parse_json(text), value)) << text;
  }
  EXPECT_EQ(value, INT64_MIN);
}

TEST(Json, IsShownShortAndInAscii) {
  EXPECT_EQ(shown(parse_json("[1, \"\\u00e9\\u001b\"]")), "[1,\"\\u00e9\\u001b\"]");
  const std::string text = shown(nlohmann::json(std::string(1000, 'x')));
  EXPECT_EQ(text.size(), 60u);
  EXPECT_TRUE(text.ends_with("..."));
}

}  // namespace
}  // namespace tnl
