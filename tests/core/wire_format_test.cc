// The wire format of protocol buffers, against bytes worked out by hand.
#include "core/wire_format.h"

#include <gtest/gtest.h>

namespace tnl {
namespace {

TEST(WireFormat, WritesTheKnownBytes) {
  WireWriter writer;
  writer.varint(1, 150);  // the example of the format's description
  writer.content(2, "testing");
  writer.float32(3, 1.0f);
  writer.float64(4, -2.0);
  writer.varint(16, ~std::uint64_t{0});
  EXPECT_EQ(writer.message(),
            std::string("\x08\x96\x01\x12\x07testing\x1d\0\0\x80\x3f\x21\0\0\0\0\0\0\0\xc0"
                        "\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                        3 + 9 + 5 + 9 + 12));
}

TEST(WireFormat, ReadsWhatItWrites) {
  WireWriter writer;
  writer.varint(7, 1u << 30);
  writer.float32(9, 0.5f);
  writer.float64(10, 0.25);
  writer.content(300, "x");
  WireReader reader(writer.message());
  auto field = reader.next();
  ASSERT_TRUE(field);
  EXPECT_EQ(field->number, 7u);
  EXPECT_EQ(field->value, 1u << 30);
  field = reader.next();
  ASSERT_TRUE(field);
  EXPECT_EQ(std::bit_cast<float>(static_cast<std::uint32_t>(field->value)), 0.5f);
  field = reader.next();
  ASSERT_TRUE(field);
  EXPECT_EQ(std::bit_cast<double>(field->value), 0.25);
  field = reader.next();
  ASSERT_TRUE(field);
  EXPECT_EQ(field->number, 300u);
  EXPECT_EQ(field->content, "x");
  EXPECT_TRUE(reader.done());
}

TEST(WireFormat, DamagedMessagesHaveNoField) {
  using namespace std::string_view_literals;
  for (const std::string_view bad : {"\x08"sv, "\x08\x80"sv,
                                     "\x12\x05"sv
                                     "abc"sv,
                                     "\x0d\0\0"sv, "\x00"sv, "\x0b"sv,
                                     "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv}) {
    EXPECT_FALSE(WireReader(bad).next());
  }
}

}  // namespace
}  // namespace tnl
