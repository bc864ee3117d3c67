// One file of packed tokens: a header, the token ids, and where each document begins.
//
//   0   ShardHeader, 64 bytes
//   64  tokens, 2 or 4 bytes each, zeros up to a multiple of 8 bytes
//   ..  documents + 1 offsets of 8 bytes, in tokens: document n is [offset n, offset n + 1)
//
// All little-endian. The checksum (core/checksum.h) covers everything behind the header.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "tnl/status.h"

namespace tnl {

inline constexpr char kShardMagic[8] = {'t', 'n', 'l', 't', 'o', 'k', 's', '\n'};
inline constexpr std::uint32_t kShardVersion = 1;

struct ShardHeader {
  char magic[8] = {};
  std::uint32_t version = 0, token_bytes = 0;
  std::uint64_t tokens = 0, documents = 0, checksum = 0, vocab_size = 0;
  std::uint64_t reserved[2] = {};
};
static_assert(sizeof(ShardHeader) == 64);

class ShardWriter {
 public:
  static Result<ShardWriter> create(const std::filesystem::path& path, std::int64_t vocab_size);

  Status append(std::span<const std::int32_t> tokens);
  void end_document() { offsets_.push_back(tokens_); }
  std::int64_t tokens() const { return static_cast<std::int64_t>(tokens_); }
  // Writes the rest and the header, and syncs.
  Result<ShardHeader> finish();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  ShardWriter(std::filesystem::path path, std::FILE* file, std::int64_t vocab_size);
  Status flush(const void* data, std::size_t bytes);
  Status failed() const;

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::int64_t vocab_size_;
  std::uint32_t token_bytes_;
  std::vector<std::uint16_t> narrow_;  // waiting to be written, by token_bytes_
  std::vector<std::uint32_t> wide_;
  std::vector<std::uint64_t> offsets_{0};
  std::uint64_t tokens_ = 0, checksum_;
};

class ShardReader {
 public:
  // Checks the header and that the file has the size it promises.
  static Result<ShardReader> open(const std::filesystem::path& path);

  const ShardHeader& header() const { return header_; }
  std::int64_t tokens() const { return static_cast<std::int64_t>(header_.tokens); }
  std::int64_t documents() const { return static_cast<std::int64_t>(header_.documents); }
  std::int64_t file_bytes() const { return static_cast<std::int64_t>(file_.bytes().size()); }

  struct Range {
    std::int64_t begin = 0, end = 0;
  };
  // The tokens of a document; an error where the file is damaged there.
  Result<Range> document(std::int64_t index) const;
  // Appends the ids of [begin, end), which document() gave; an id out of range is an error.
  Status read(std::int64_t begin, std::int64_t end, std::vector<std::int32_t>& ids) const;
  // Asks the system to have them in memory soon.
  void prefetch(std::int64_t begin, std::int64_t end) const;
  // Reads everything.
  Status verify() const;

 private:
  Status damaged(const std::string& what) const;

  std::filesystem::path path_;
  MappedFile file_;
  ShardHeader header_;
};

}  // namespace tnl
