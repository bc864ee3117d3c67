#include "text/shard.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "core/checksum.h"
#include "core/try.h"

namespace tnl {
namespace {

constexpr std::size_t kBufferedTokens = std::size_t{1} << 18;  // a multiple of 4: 8 bytes

std::uint64_t padded(std::uint64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

template <class Token>
std::int64_t append_checked(const Token* tokens, std::int64_t count, std::uint64_t vocab_size,
                            std::vector<std::int32_t>& ids) {
  ids.reserve(ids.size() + static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    if (tokens[i] >= vocab_size) return i;
    ids.push_back(static_cast<std::int32_t>(tokens[i]));
  }
  return -1;
}

}  // namespace

Result<ShardWriter> ShardWriter::create(const std::filesystem::path& path,
                                        std::int64_t vocab_size) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (file == nullptr) {
    return io_error(fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)));
  }
  ShardWriter writer(path, file, vocab_size);
  const ShardHeader empty;
  if (std::fwrite(&empty, sizeof empty, 1, file) != 1) return writer.failed();
  return writer;
}

ShardWriter::ShardWriter(std::filesystem::path path, std::FILE* file, std::int64_t vocab_size)
    : path_(std::move(path)),
      file_(file),
      vocab_size_(vocab_size),
      token_bytes_(vocab_size <= 65536 ? 2 : 4),
      checksum_(kChecksumStart) {}

Status ShardWriter::failed() const {
  return io_error(fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)));
}

Status ShardWriter::flush(const void* data, std::size_t bytes) {
  checksum_ = checksum(checksum_, data, bytes);
  return bytes == 0 || std::fwrite(data, bytes, 1, file_.get()) == 1 ? Status() : failed();
}

Status ShardWriter::append(std::span<const std::int32_t> tokens) {
  tokens_ += tokens.size();
  const auto add = [&](auto& waiting) -> Status {
    for (const std::int32_t token : tokens) {
      waiting.push_back(static_cast<typename std::decay_t<decltype(waiting)>::value_type>(token));
      if (waiting.size() < kBufferedTokens) continue;
      TNL_TRY(flush(waiting.data(), waiting.size() * token_bytes_));
      waiting.clear();
    }
    return {};
  };
  return token_bytes_ == 2 ? add(narrow_) : add(wide_);
}

Result<ShardHeader> ShardWriter::finish() {
  narrow_.resize(padded(narrow_.size() * 2) / 2);
  wide_.resize(padded(wide_.size() * 4) / 4);
  TNL_TRY(flush(narrow_.data(), narrow_.size() * 2));
  TNL_TRY(flush(wide_.data(), wide_.size() * 4));
  TNL_TRY(flush(offsets_.data(), offsets_.size() * 8));
  ShardHeader header;
  std::memcpy(header.magic, kShardMagic, sizeof kShardMagic);
  header.version = kShardVersion;
  header.token_bytes = token_bytes_;
  header.tokens = tokens_;
  header.documents = offsets_.size() - 1;
  header.checksum = checksum_;
  header.vocab_size = static_cast<std::uint64_t>(vocab_size_);
  if (std::fseek(file_.get(), 0, SEEK_SET) != 0 ||
      std::fwrite(&header, sizeof header, 1, file_.get()) != 1 || std::fflush(file_.get()) != 0 ||
      ::fsync(::fileno(file_.get())) != 0) {
    return failed();
  }
  return header;
}

Status ShardReader::damaged(const std::string& what) const {
  return invalid_argument(fmt::format("{}: {}", path_.string(), what));
}

Result<ShardReader> ShardReader::open(const std::filesystem::path& path) {
  ShardReader shard;
  shard.path_ = path;
  TNL_ASSIGN(shard.file_, MappedFile::open(path));
  const auto bytes = shard.file_.bytes();
  ShardHeader& header = shard.header_;
  if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
  if (bytes.size() < sizeof header || std::memcmp(header.magic, kShardMagic, 8) != 0) {
    return shard.damaged("not a file of packed tokens, or damaged");
  }
  if (header.version != kShardVersion) {
    return shard.damaged(
        fmt::format("format version {}, expected {}", header.version, kShardVersion));
  }
  constexpr std::uint64_t kMost = std::uint64_t{1} << 58;
  if ((header.token_bytes != 2 && header.token_bytes != 4) || header.tokens > kMost ||
      header.documents > kMost || header.vocab_size > (std::uint64_t{1} << 31)) {
    return shard.damaged("its header is damaged");
  }
  const std::uint64_t expected =
      sizeof header + padded(header.tokens * header.token_bytes) + 8 * (header.documents + 1);
  if (bytes.size() != expected) {
    return shard.damaged(fmt::format("found {} bytes, expected {} by its header{}", bytes.size(),
                                     expected, bytes.size() < expected ? ": truncated?" : ""));
  }
  return shard;
}

Result<ShardReader::Range> ShardReader::document(std::int64_t index) const {
  const std::byte* offsets =
      file_.bytes().data() + sizeof header_ + padded(header_.tokens * header_.token_bytes);
  std::uint64_t bounds[2];
  std::memcpy(bounds, offsets + 8 * index, sizeof bounds);
  if (bounds[0] > bounds[1] || bounds[1] > header_.tokens) {
    return damaged(fmt::format("the boundaries of document {} are damaged: {} to {} of {} tokens",
                               index, bounds[0], bounds[1], header_.tokens));
  }
  return Range{static_cast<std::int64_t>(bounds[0]), static_cast<std::int64_t>(bounds[1])};
}

Status ShardReader::read(std::int64_t begin, std::int64_t end,
                         std::vector<std::int32_t>& ids) const {
  const std::byte* tokens = file_.bytes().data() + sizeof header_ + begin * header_.token_bytes;
  const std::uint64_t vocab = header_.vocab_size;
  const std::int64_t bad =
      header_.token_bytes == 2
          ? append_checked(reinterpret_cast<const std::uint16_t*>(tokens), end - begin, vocab, ids)
          : append_checked(reinterpret_cast<const std::uint32_t*>(tokens), end - begin, vocab, ids);
  if (bad < 0) return {};
  return damaged(fmt::format("token {} is outside of the vocabulary of {}: the file is damaged",
                             begin + bad, vocab));
}

void ShardReader::prefetch(std::int64_t begin, std::int64_t end) const {
  file_.prefetch(sizeof header_ + static_cast<std::size_t>(begin * header_.token_bytes),
                 static_cast<std::size_t>((end - begin) * header_.token_bytes));
}

Status ShardReader::verify() const {
  const auto body = file_.bytes().subspan(sizeof header_);
  const std::uint64_t found = checksum(kChecksumStart, body.data(), body.size());
  if (found != header_.checksum) {
    return damaged(fmt::format("checksum {:016x}, expected {:016x}: the file is damaged", found,
                               header_.checksum));
  }
  std::int64_t last = 0;
  for (std::int64_t i = 0; i < documents(); ++i) {
    TNL_ASSIGN(const Range range, document(i));
    if (range.begin != last) return damaged(fmt::format("document {} is out of place", i));
    last = range.end;
  }
  if (last != tokens()) return damaged("its documents do not cover its tokens");
  std::vector<std::int32_t> ids;
  constexpr std::int64_t kStep = std::int64_t{1} << 20;
  for (std::int64_t begin = 0; begin < tokens(); begin += kStep) {
    ids.clear();
    TNL_TRY(read(begin, std::min(begin + kStep, tokens()), ids));
  }
  return {};
}

}  // namespace tnl
