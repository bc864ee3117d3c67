// Files: whole reads, memory maps, and writes that are never half done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "tnl/status.h"

namespace tnl {

// Whether a name that a file gives may be that of a file beside it: no path, at most 255 bytes, no
// control characters.
bool is_file_name(std::string_view name);

// The whole file; an error beyond max_bytes.
Result<std::string> read_file(const std::filesystem::path& path,
                              std::int64_t max_bytes = std::int64_t{1} << 30);

// A read-only map of a regular file. Empty files give an empty span.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  // Asks the system to read a part of it ahead.
  void prefetch(std::size_t offset, std::size_t bytes) const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Writes to `path`.tmp.<pid>; commit() syncs it, renames it to `path` and syncs the directory.
// Destroyed without commit(), it removes the temporary file and leaves `path` as it was.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::filesystem::path& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status write(const void* data, std::size_t bytes);
  Status write(std::string_view text) { return write(text.data(), text.size()); }
  Status commit();

 private:
  AtomicFile(std::filesystem::path path, std::filesystem::path temporary, int descriptor)
      : path_(std::move(path)), temporary_(std::move(temporary)), descriptor_(descriptor) {}
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

Status write_file(const std::filesystem::path& path, std::string_view content);

// Syncs the entries of a directory, after renames inside it.
Status sync_directory(const std::filesystem::path& directory);

// create_directories with a Status.
Status make_directories(const std::filesystem::path& directory);

}  // namespace tnl
