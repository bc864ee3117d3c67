#include "model/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support/require.h"
#include "support/temporary_directory.h"

namespace tnl {
namespace {

using test::take;
using test::TemporaryDirectory;

std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string content(sizeof(length), '\0');
  std::memcpy(content.data(), &length, sizeof(length));
  return content + header + std::string(data_bytes, '\1');
}

TEST(Safetensors, RoundTrip) {
  const TemporaryDirectory directory;
  float a[6] = {0, 1, -2, 3.5f, 1e-20f, 65504};
  double b[2] = {1.0 / 3, -7};
  const std::vector<SafetensorsWrite> tensors = {
      {"a", DType::kF32, TensorView::contiguous(a, DType::kF32, {2, 3})},
      {"a16", DType::kBF16, TensorView::contiguous(a, DType::kF32, {6})},
      {"b", DType::kF32, TensorView::contiguous(b, DType::kF64, {1, 2, 1})},
      {"empty", DType::kF16, TensorView::contiguous(a, DType::kF32, {0, 4})},
  };
  const auto path = directory.path() / "x.safetensors";
  ASSERT_TRUE(write_safetensors(path, tensors, {{"format", "pt"}}).ok());
  const SafetensorsFile file = take(SafetensorsFile::open(path));
  EXPECT_EQ(file.entries().size(), 4u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(std::memcmp(file.find("a")->data, a, sizeof(a)), 0);
  EXPECT_EQ(file.find("a")->shape, (std::vector<std::int64_t>{2, 3}));
  float third = 0;
  std::memcpy(&third, file.find("b")->data, sizeof(third));
  EXPECT_EQ(third, 1.0f / 3);
  std::uint16_t half = 0;
  std::memcpy(&half, file.find("a16")->data + 2 * 3, sizeof(half));
  EXPECT_EQ(half, 0x4060);  // 3.5 in bf16
  EXPECT_EQ(file.find("empty")->elements, 0);
  EXPECT_EQ(file.find("nothing"), nullptr);
}

// Its extents may exceed the file.
TEST(Safetensors, TensorsWithoutElementsRoundTrip) {
  const TemporaryDirectory directory;
  const TensorView empty = TensorView::contiguous(nullptr, DType::kF32, {0, 2});
  ASSERT_TRUE(write_safetensors(directory / "x.safetensors", {{"e", DType::kF32, empty}}).ok());
  const auto file = SafetensorsFile::open(directory / "x.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->entries().at(0).shape, (std::vector<std::int64_t>{0, 2}));
}

TEST(Safetensors, DamagedFilesGetASentence) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::pair<std::string, const char*> cases[] = {
      {"", "found 0 bytes"},
      {"1234567", "found 7 bytes"},
      {std::string(8, '\xff'), "found a header of"},
      {file_of("[]", 0), "not a JSON object"},
      {file_of("{\"a\":", 0), "not a JSON object"},
      {file_of(good, 7), "within the 7 bytes"},
      {file_of(good, 9), "found 9 bytes of data, expected 8"},
      {file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), "found 8 bytes"},
      {file_of(R"({"a":{"dtype":"X","shape":[2],"data_offsets":[0,8]}})", 8), "found dtype 'X'"},
      {file_of(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), "extent -2"},
      {file_of(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})",
               0),
       "extent 4294967296"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), "data_offsets"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,99999999999]}})", 8),
       "data_offsets"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
               R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
               12),
       "overlaps at byte 8"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8), "gap at byte 0"},
      {file_of(R"({"a":7})", 0), "expected dtype, shape and data_offsets"},
      {file_of(R"({"__metadata__":[]})", 0), "__metadata__"},
  };
  for (const auto& [content, expected] : cases) {
    const TemporaryDirectory directory;
    const auto path = directory.write("x.safetensors", content);
    const auto file = SafetensorsFile::open(path);
    ASSERT_FALSE(file.ok()) << expected;
    EXPECT_EQ(file.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(file.status().message().find(expected), std::string::npos) << file.status().message();
    EXPECT_NE(file.status().message().find("x.safetensors"), std::string::npos);
  }
}

}  // namespace
}  // namespace tnl
