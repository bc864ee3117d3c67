#include "core/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace tnl {
namespace {

namespace fs = std::filesystem;

class File : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              fmt::format("tnl-file-{}-{}", getpid(),
                          testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  int entries() const {
    return static_cast<int>(std::distance(fs::directory_iterator(folder_), {}));
  }

  fs::path folder_;
};

TEST_F(File, ReadsBackWhatWasWritten) {
  const std::string content("one\0two\n", 8);
  ASSERT_TRUE(write_file(folder_ / "a", content).ok());
  EXPECT_EQ(read_file(folder_ / "a").value(), content);
  const MappedFile mapped = MappedFile::open(folder_ / "a").value();
  EXPECT_EQ(mapped.text(), content);
  EXPECT_EQ(entries(), 1);
}

TEST_F(File, AnEmptyFileIsNoError) {
  ASSERT_TRUE(write_file(folder_ / "a", "").ok());
  EXPECT_EQ(read_file(folder_ / "a").value(), "");
  EXPECT_TRUE(MappedFile::open(folder_ / "a").value().bytes().empty());
}

TEST_F(File, AMissingFileIsNotFoundAndNamed) {
  for (const Status& status :
       {read_file(folder_ / "gone").status(), MappedFile::open(folder_ / "gone").status()}) {
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_NE(status.message().find((folder_ / "gone").string()), std::string::npos);
  }
}

TEST_F(File, ADirectoryIsRefused) {
  EXPECT_EQ(read_file(folder_).status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(read_file(folder_).status().message().find("a directory"), std::string::npos);
  EXPECT_EQ(MappedFile::open(folder_).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(File, APipeIsRefusedWithoutWaiting) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_NE(read_file(folder_ / "pipe").status().message().find("a special file"),
            std::string::npos);
}

TEST_F(File, TheLimitOfAReadHolds) {
  ASSERT_TRUE(write_file(folder_ / "a", "12345").ok());
  EXPECT_TRUE(read_file(folder_ / "a", 5).ok());
  const Status status = read_file(folder_ / "a", 4).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("found 5 bytes, expected at most 4"), std::string::npos);
}

TEST_F(File, WithoutCommitTheOldContentStays) {
  ASSERT_TRUE(write_file(folder_ / "a", "old").ok());
  {
    AtomicFile file = AtomicFile::create(folder_ / "a").value();
    ASSERT_TRUE(file.write("new").ok());
    EXPECT_EQ(read_file(folder_ / "a").value(), "old");
  }
  EXPECT_EQ(read_file(folder_ / "a").value(), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(File, CommitReplacesTheWholeContent) {
  ASSERT_TRUE(write_file(folder_ / "a", "a longer old content").ok());
  AtomicFile file = AtomicFile::create(folder_ / "a").value();
  ASSERT_TRUE(file.write("new ").ok());
  AtomicFile moved = std::move(file);
  ASSERT_TRUE(moved.write("words").ok());
  ASSERT_TRUE(moved.commit().ok());
  EXPECT_EQ(read_file(folder_ / "a").value(), "new words");
  EXPECT_EQ(entries(), 1);
}

TEST_F(File, WritingBelowAMissingFolderFailsAndLeavesNothing) {
  const Status status = write_file(folder_ / "none" / "a", "x");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_NE(status.message().find((folder_ / "none" / "a").string()), std::string::npos);
  EXPECT_EQ(entries(), 0);
}

TEST_F(File, DirectoriesAreMadeAlongTheWholePath) {
  ASSERT_TRUE(make_directories(folder_ / "x" / "y").ok());
  EXPECT_TRUE(fs::is_directory(folder_ / "x" / "y"));
  EXPECT_TRUE(make_directories(folder_ / "x" / "y").ok());
  ASSERT_TRUE(write_file(folder_ / "a", "").ok());
  EXPECT_FALSE(make_directories(folder_ / "a" / "b").ok());
}

}  // namespace
}  // namespace tnl
