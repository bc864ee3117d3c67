// Reads a file from front to back, through zstd or gzip where its name ends so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "tnl/status.h"

namespace tnl {

class CompressedFile {
 public:
  // .zst and .gz are decompressed; other files are read as they are.
  static Result<std::unique_ptr<CompressedFile>> open(const std::filesystem::path& path);
  virtual ~CompressedFile() = default;

  // Fills `data` but for the end of the content; returns how much was read, 0 at the end. Damaged
  // or truncated streams are an error.
  virtual Result<std::size_t> read(char* data, std::size_t bytes) = 0;
  // Bytes of the file itself read so far.
  virtual std::int64_t stored_bytes() const = 0;
};

}  // namespace tnl
