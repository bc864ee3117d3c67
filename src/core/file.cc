#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "core/printable.h"
#include "core/try.h"

namespace tnl {
namespace {

Status system_error(std::string_view verb, const std::filesystem::path& path, int error) {
  const std::string message = fmt::format("cannot {} {}: {}", verb, path.string(), strerror(error));
  return error == ENOENT || error == ENOTDIR ? not_found(message) : io_error(message);
}

// Of a file that is to be read: a name that leads nowhere or is closed to us is the caller's
// mistake, not the system's.
Status cannot_open(const std::filesystem::path& path, int error) {
  const Status status = system_error("open", path, error);
  const bool named_wrong = error == ELOOP || error == ENAMETOOLONG || error == EACCES ||
                           error == EPERM || error == ENXIO || error == ENODEV;
  return named_wrong ? invalid_argument(status.message()) : status;
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

// Opens for reading and refuses what is not a regular file, without blocking on a pipe.
Result<std::pair<int, std::int64_t>> open_regular(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return cannot_open(path, errno);
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) {
    const int error = errno;
    ::close(descriptor);
    return system_error("read", path, error);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(descriptor);
    return invalid_argument(fmt::format("cannot read {}: found {}, expected a regular file",
                                        path.string(),
                                        S_ISDIR(info.st_mode) ? "a directory" : "a special file"));
  }
  return std::pair(descriptor, static_cast<std::int64_t>(info.st_size));
}

}  // namespace

bool is_file_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && printable(name, name.size()) == name;
}

Result<std::string> read_file(const std::filesystem::path& path, std::int64_t max_bytes) {
  TNL_ASSIGN(const auto opened, open_regular(path));
  const Descriptor descriptor(opened.first);
  if (opened.second > max_bytes) {
    return invalid_argument(fmt::format("cannot read {}: found {} bytes, expected at most {}",
                                        path.string(), opened.second, max_bytes));
  }
  std::string content(static_cast<std::size_t>(opened.second), '\0');
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t count = ::read(descriptor.get(), content.data() + done, content.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error("read", path, errno);
    if (count == 0) break;  // shrank meanwhile
    done += static_cast<std::size_t>(count);
  }
  content.resize(done);
  return content;
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  TNL_ASSIGN(const auto opened, open_regular(path));
  const Descriptor descriptor(opened.first);
  MappedFile file;
  if (opened.second == 0) return file;
  void* data = ::mmap(nullptr, static_cast<std::size_t>(opened.second), PROT_READ, MAP_PRIVATE,
                      descriptor.get(), 0);
  if (data == MAP_FAILED) return system_error("map", path, errno);
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = static_cast<std::size_t>(opened.second);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::prefetch(std::size_t offset, std::size_t bytes) const {
  if (offset >= size_ || bytes == 0) return;
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t first = offset / page * page;
  const std::size_t end = offset + std::min(bytes, size_ - offset);
  ::madvise(const_cast<std::byte*>(data_) + first, end - first, MADV_WILLNEED);  // may fail
}

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return invalid_argument(
        fmt::format("cannot write {}: found a directory, expected a file", path.string()));
  }
  std::filesystem::path temporary = path;
  temporary += fmt::format(".tmp.{}", ::getpid());
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) return system_error("write", path, errno);
  return AtomicFile(path, std::move(temporary), descriptor);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

Status AtomicFile::write(const void* data, std::size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::write(descriptor_, next, bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error("write", path_, errno);
    next += count;
    bytes -= static_cast<std::size_t>(count);
  }
  return {};
}

Status AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) return system_error("write", path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return system_error("write", path_, errno);
  ::close(std::exchange(descriptor_, -1));
  const std::filesystem::path parent = path_.parent_path();
  return sync_directory(parent.empty() ? "." : parent);
}

Status write_file(const std::filesystem::path& path, std::string_view content) {
  TNL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  TNL_TRY(file.write(content));
  return file.commit();
}

Status sync_directory(const std::filesystem::path& directory) {
  const Descriptor descriptor(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0) return system_error("open", directory, errno);
  // Some file systems cannot sync a directory; the rename itself has been done.
  if (::fsync(descriptor.get()) != 0 && errno != EINVAL) {
    return system_error("sync", directory, errno);
  }
  return {};
}

Status make_directories(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return system_error("create the directory", directory, error.value());
  return {};
}

}  // namespace tnl
