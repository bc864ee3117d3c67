#include "text/compressed_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "core/try.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

class PlainFile final : public CompressedFile {
 public:
  PlainFile(fs::path path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  ~PlainFile() override { ::close(descriptor_); }
  PlainFile(const PlainFile&) = delete;
  PlainFile& operator=(const PlainFile&) = delete;

  Result<std::size_t> read(char* data, std::size_t bytes) override {
    std::size_t done = 0;
    while (done < bytes) {
      const ssize_t count = ::read(descriptor_, data + done, bytes - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        return io_error(fmt::format("cannot read {}: {}", path_.string(), std::strerror(errno)));
      }
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    stored_ += static_cast<std::int64_t>(done);
    return done;
  }
  std::int64_t stored_bytes() const override { return stored_; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  int descriptor_;
  std::int64_t stored_ = 0;
};

// The compressed bytes of a file, block by block.
class Source {
 public:
  explicit Source(std::unique_ptr<PlainFile> file) : file_(std::move(file)), block_(1 << 17) {}

  // Reads a block where the last one is used up. False at the end of the file.
  Result<bool> refill() {
    if (at_ < filled_) return true;
    TNL_ASSIGN(filled_, file_->read(block_.data(), block_.size()));
    at_ = 0;
    return filled_ > 0;
  }
  char* data() { return block_.data() + at_; }
  std::size_t size() const { return filled_ - at_; }
  void advance(std::size_t bytes) { at_ += bytes; }
  std::int64_t stored_bytes() const { return file_->stored_bytes(); }
  Status damaged(const char* format, const char* what) const {
    return invalid_argument(
        fmt::format("{}: damaged {} stream ({})", file_->path().string(), format, what));
  }

 private:
  std::unique_ptr<PlainFile> file_;
  std::vector<char> block_;
  std::size_t at_ = 0, filled_ = 0;
};

class ZstdFile final : public CompressedFile {
 public:
  explicit ZstdFile(std::unique_ptr<PlainFile> file)
      : source_(std::move(file)), stream_(ZSTD_createDStream(), ZSTD_freeDStream) {}

  Result<std::size_t> read(char* data, std::size_t bytes) override {
    if (stream_ == nullptr) return io_error("no memory to decompress with");
    ZSTD_outBuffer out{data, bytes, 0};
    while (out.pos < bytes) {
      TNL_ASSIGN(const bool more, source_.refill());
      // Without input the decoder may still hold output back; a full frame leaves no rest.
      if (!more && !inside_frame_) break;
      ZSTD_inBuffer in{source_.data(), source_.size(), 0};
      const std::size_t before = out.pos;
      const std::size_t rest = ZSTD_decompressStream(stream_.get(), &out, &in);
      if (ZSTD_isError(rest) != 0) return source_.damaged("zstd", ZSTD_getErrorName(rest));
      source_.advance(in.pos);
      inside_frame_ = rest != 0;
      if (!more && out.pos == before) return source_.damaged("zstd", "it is truncated");
    }
    return out.pos;
  }
  std::int64_t stored_bytes() const override { return source_.stored_bytes(); }

 private:
  Source source_;
  std::unique_ptr<ZSTD_DStream, std::size_t (*)(ZSTD_DStream*)> stream_;
  bool inside_frame_ = true;  // an empty file is no zstd stream
};

class GzipFile final : public CompressedFile {
 public:
  explicit GzipFile(std::unique_ptr<PlainFile> file) : source_(std::move(file)) {
    ready_ = inflateInit2(&stream_, 15 + 16) == Z_OK;  // 16: expect gzip headers
  }
  ~GzipFile() override { inflateEnd(&stream_); }
  GzipFile(const GzipFile&) = delete;
  GzipFile& operator=(const GzipFile&) = delete;

  Result<std::size_t> read(char* data, std::size_t bytes) override {
    if (!ready_) return io_error("no memory to decompress with");
    std::size_t done = 0;
    while (done < bytes) {
      TNL_ASSIGN(const bool more, source_.refill());
      if (!more && !inside_member_) break;
      if (!more) return source_.damaged("gzip", "it is truncated");
      const std::size_t room = std::min<std::size_t>(bytes - done, 1u << 30);
      stream_.next_in = reinterpret_cast<Bytef*>(source_.data());
      stream_.avail_in = static_cast<uInt>(source_.size());
      stream_.next_out = reinterpret_cast<Bytef*>(data + done);
      stream_.avail_out = static_cast<uInt>(room);
      const int state = inflate(&stream_, Z_NO_FLUSH);
      if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) {
        return source_.damaged("gzip", stream_.msg != nullptr ? stream_.msg : "cannot inflate");
      }
      source_.advance(source_.size() - stream_.avail_in);
      done += room - stream_.avail_out;
      inside_member_ = state != Z_STREAM_END;
      if (state == Z_STREAM_END) inflateReset(&stream_);
    }
    return done;
  }
  std::int64_t stored_bytes() const override { return source_.stored_bytes(); }

 private:
  Source source_;
  z_stream stream_{};
  bool ready_ = false;
  bool inside_member_ = true;
};

}  // namespace

Result<std::unique_ptr<CompressedFile>> CompressedFile::open(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const std::string message =
        fmt::format("cannot open {}: {}", path.string(), std::strerror(errno));
    const bool absent = errno == ENOENT || errno == ENOTDIR;
    return absent ? not_found(message) : invalid_argument(message);
  }
  auto file = std::make_unique<PlainFile>(path, descriptor);
  struct stat info {};
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    return invalid_argument(fmt::format("cannot read {}: expected a regular file", path.string()));
  }
  using Opened = std::unique_ptr<CompressedFile>;
  if (path.extension() == ".zst") return Opened(std::make_unique<ZstdFile>(std::move(file)));
  if (path.extension() == ".gz") return Opened(std::make_unique<GzipFile>(std::move(file)));
  return Opened(std::move(file));
}

}  // namespace tnl
