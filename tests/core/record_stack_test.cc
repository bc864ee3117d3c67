#include "core/record_stack.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <vector>

#include "core/rng.h"
#include "support/require.h"
#include "support/temporary_directory.h"

namespace tnl {
namespace {

using Record = std::array<std::uint64_t, 5>;

Record record(std::uint64_t seed) {
  Rng rng(seed);
  Record words;
  for (std::uint64_t& word : words) word = rng.next();
  return words;
}

TEST(RecordStack, GivesBackTheNewestFirst) {
  const test::TemporaryDirectory directory;
  for (const std::size_t budget : {0, 39, 40, 3 * 40, 1000 * 40}) {
    RecordStack stack(sizeof(Record), budget, directory.path(), "a test");
    std::vector<std::uint64_t> expected;
    Rng rng(budget);
    for (std::uint64_t step = 0; step < 400; ++step) {
      if (expected.empty() || rng.below(5) < 3) {
        const Record pushed = record(step);
        EXPECT_OK(stack.push(pushed.data()));
        expected.push_back(step);
      } else {
        Record popped{};
        EXPECT_OK(stack.pop(popped.data()));
        EXPECT_EQ(popped, record(expected.back()));
        expected.pop_back();
      }
      const auto size = static_cast<std::int64_t>(expected.size());
      EXPECT_EQ(stack.size(), size);
      EXPECT_EQ(stack.in_file(),
                std::max<std::int64_t>(0, size - static_cast<std::int64_t>(budget / 40)));
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));  // the file has no name
    stack.clear();
    EXPECT_EQ(stack.size(), 0);
  }
}

TEST(RecordStack, KeepsItsRecordsWhenItMoves) {
  const test::TemporaryDirectory directory;
  RecordStack stack(sizeof(Record), sizeof(Record), directory.path(), "a test");
  for (std::uint64_t seed : {1, 2, 3}) EXPECT_OK(stack.push(record(seed).data()));
  RecordStack other = std::move(stack);
  RecordStack third(sizeof(Record), 0, directory.path(), "a test");
  third = std::move(other);
  for (std::uint64_t seed : {3, 2, 1}) {
    Record popped{};
    EXPECT_OK(third.pop(popped.data()));
    EXPECT_EQ(popped, record(seed));
  }
}

TEST(RecordStack, NamesTheDirectoryThatCannotHoldTheFile) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path missing = directory.path() / "missing";
  RecordStack stack(sizeof(Record), sizeof(Record), missing, "the states");
  EXPECT_OK(stack.push(record(1).data()));
  const Status status = stack.push(record(2).data());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_EQ(status.message(), "cannot create the temporary file for the states in " +
                                  missing.string() + ": No such file or directory");
  EXPECT_EQ(stack.size(), 1);
}

}  // namespace
}  // namespace tnl
