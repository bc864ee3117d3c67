#include "core/file.h"
#include "support/temporary_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace tnl {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      result.push_back(entry.path().filename().string());
    }
    std::sort(result.begin(), result.end());
    return result;
  }
  std::string content(const fs::path& path) const {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  test::TemporaryDirectory temporary_;
  const fs::path directory_ = temporary_.path();
};

bool contains(const Status& status, std::string_view text) {
  return status.message().find(text) != std::string::npos;
}

TEST_F(Files, WriteThenReadAndMap) {
  const fs::path path = directory_ / "a";
  const std::string text("line\n\0binary", 12);
  ASSERT_TRUE(write_file(path, text).ok());
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
  const auto read = read_file(path);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read.value(), text);
  auto mapped = MappedFile::open(path);
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(mapped.value().text(), text);
  MappedFile moved = std::move(mapped).value();
  EXPECT_EQ(moved.text(), text);
}

TEST_F(Files, EmptyFile) {
  const fs::path path = directory_ / "empty";
  ASSERT_TRUE(write_file(path, "").ok());
  EXPECT_EQ(read_file(path).value(), "");
  const auto mapped = MappedFile::open(path);
  ASSERT_TRUE(mapped.ok());
  EXPECT_TRUE(mapped.value().bytes().empty());
}

TEST_F(Files, NothingIsVisibleBeforeCommit) {
  const fs::path path = directory_ / "a";
  ASSERT_TRUE(write_file(path, "old").ok());
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file.value().write("new, half writ").ok());
    EXPECT_EQ(content(path), "old");
    EXPECT_EQ(names().size(), 2u);
  }  // dropped without commit
  EXPECT_EQ(content(path), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"a"});

  auto file = AtomicFile::create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file.value().write("new").ok());
  AtomicFile moved = std::move(file).value();
  ASSERT_TRUE(moved.write(", whole").ok());
  ASSERT_TRUE(moved.commit().ok());
  EXPECT_EQ(content(path), "new, whole");
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(Files, AFailedCommitLeavesNoTemporaryFile) {
  const fs::path path = directory_ / "a";
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file.value().write("x").ok());
    fs::create_directory(path);  // a file cannot be renamed onto a directory
    const Status status = file.value().commit();
    EXPECT_EQ(status.code(), StatusCode::kIo);
    EXPECT_TRUE(contains(status, path.string()));
  }
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(Files, TheTemporaryFileLiesBesideTheTarget) {
  const fs::path path = directory_ / "a";
  const auto file = AtomicFile::create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(names().size(), 1u);
  EXPECT_EQ(names()[0].rfind("a.tmp.", 0), 0u);  // one file system, so the rename is atomic
}

TEST_F(Files, ErrorsNameTheFile) {
  const fs::path missing = directory_ / "missing";
  const auto absent = read_file(missing);
  EXPECT_EQ(absent.status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(contains(absent.status(), missing.string()));
  EXPECT_EQ(MappedFile::open(missing).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(AtomicFile::create(missing / "b").status().code(), StatusCode::kNotFound);

  EXPECT_TRUE(contains(read_file(directory_).status(), "a directory"));
  const fs::path pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(contains(MappedFile::open(pipe).status(), "a special file"));

  const fs::path large = directory_ / "large";
  ASSERT_TRUE(write_file(large, "12345").ok());
  EXPECT_TRUE(contains(read_file(large, 4).status(), "found 5 bytes, expected at most 4"));
  EXPECT_EQ(read_file(large, 5).value(), "12345");
}

// What the caller named wrong is bad input, not a failure of the system.
TEST_F(Files, LinksInACircleAndFoldersAreBadInput) {
  const fs::path circle = directory_ / "circle";
  fs::create_symlink("circle", circle);
  EXPECT_EQ(read_file(circle).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(contains(MappedFile::open(circle).status(), "symbolic links"));
  const fs::path long_name = directory_ / std::string(300, 'x');
  EXPECT_EQ(read_file(long_name).status().code(), StatusCode::kInvalidArgument);
  const Status onto_folder = AtomicFile::create(directory_).status();
  EXPECT_EQ(onto_folder.code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(contains(onto_folder, "found a directory, expected a file"));
}

TEST(FileName, IsOneBesideTheFile) {
  for (const char* name : {"a", "train-00000.bin", ".hidden", "\xc3\xa9", "a b"}) {
    EXPECT_TRUE(is_file_name(name)) << name;
  }
  for (const char* name : {"", ".", "..", "a/b", "/a", "a\nb", "\x1b[2J"}) {
    EXPECT_FALSE(is_file_name(name)) << name;
  }
  EXPECT_FALSE(is_file_name(std::string_view("a\0b", 3)));
  EXPECT_FALSE(is_file_name(std::string(256, 'x')));
  EXPECT_TRUE(is_file_name(std::string(255, 'x')));
}

TEST_F(Files, MakeDirectories) {
  EXPECT_TRUE(make_directories(directory_ / "x" / "y").ok());
  EXPECT_TRUE(make_directories(directory_ / "x" / "y").ok());
  ASSERT_TRUE(write_file(directory_ / "file", "").ok());
  const Status status = make_directories(directory_ / "file" / "z");
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(contains(status, (directory_ / "file" / "z").string()));
  EXPECT_TRUE(sync_directory(directory_).ok());
  EXPECT_EQ(sync_directory(directory_ / "none").code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace tnl
