#include "core/record_stack.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "core/check.h"
#include "core/try.h"

namespace tnl {
namespace {

// Moves all bytes through `call(done, left)`, pread or pwrite. 0 or the error.
template <class Call>
int transfer(std::size_t bytes, const Call& call) {
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t count = call(done, bytes - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) return EIO;  // the file ends before its record does
    done += static_cast<std::size_t>(count);
  }
  return 0;
}

// A file without a name, or -1 with errno.
int open_nameless(const std::filesystem::path& directory) {
#if defined(O_TMPFILE)
  const int nameless = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (nameless >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return nameless;
#endif
  std::string name = (directory / "tnl-states-XXXXXX").string();
  const int descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor >= 0) ::unlink(name.c_str());
  return descriptor;
}

}  // namespace

RecordStack::RecordStack(std::size_t record_bytes, std::size_t memory_bytes,
                         std::filesystem::path directory, const char* purpose)
    : record_bytes_(record_bytes),
      memory_records_(
          static_cast<std::int64_t>(memory_bytes / std::max<std::size_t>(record_bytes, 1))),
      directory_(std::move(directory)),
      purpose_(purpose) {}

RecordStack::RecordStack(RecordStack&& other) noexcept
    : record_bytes_(other.record_bytes_),
      memory_records_(other.memory_records_),
      directory_(std::move(other.directory_)),
      purpose_(other.purpose_),
      memory_(std::move(other.memory_)),
      size_(std::exchange(other.size_, 0)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

RecordStack& RecordStack::operator=(RecordStack&& other) noexcept {
  std::swap(record_bytes_, other.record_bytes_);
  std::swap(memory_records_, other.memory_records_);
  std::swap(directory_, other.directory_);
  std::swap(purpose_, other.purpose_);
  std::swap(memory_, other.memory_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

RecordStack::~RecordStack() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::int64_t RecordStack::in_file() const {
  return std::max<std::int64_t>(0, size_ - memory_records_);
}

Status RecordStack::failed(const char* verb, int error) const {
  return io_error(fmt::format("cannot {} the temporary file for {} in {}: {}", verb, purpose_,
                              directory_.string(), strerror(error)));
}

Status RecordStack::open_file() {
  if (descriptor_ >= 0) return {};
  descriptor_ = open_nameless(directory_);
  return descriptor_ >= 0 ? Status() : failed("create", errno);
}

Status RecordStack::push(const void* record) {
  if (size_ < memory_records_) {
    if (size_ == static_cast<std::int64_t>(memory_.size())) {
      TNL_ASSIGN(Buffer buffer, Buffer::allocate(record_bytes_, purpose_));
      memory_.push_back(std::move(buffer));
    }
    if (record_bytes_ > 0) std::memcpy(memory_[size_].data(), record, record_bytes_);
    ++size_;
    return {};
  }
  TNL_TRY(open_file());
  const auto* bytes = static_cast<const char*>(record);
  const auto place = static_cast<off_t>(in_file()) * static_cast<off_t>(record_bytes_);
  const int error = transfer(record_bytes_, [&](std::size_t done, std::size_t left) {
    return ::pwrite(descriptor_, bytes + done, left, place + static_cast<off_t>(done));
  });
  if (error != 0) return failed("write", error);
  ++size_;
  return {};
}

Status RecordStack::pop(void* record) {
  TNL_CHECK(size_ > 0);
  --size_;
  if (size_ < memory_records_) {
    if (record_bytes_ > 0) std::memcpy(record, memory_[size_].data(), record_bytes_);
    return {};
  }
  auto* bytes = static_cast<char*>(record);
  const auto place = static_cast<off_t>(in_file()) * static_cast<off_t>(record_bytes_);
  const int error = transfer(record_bytes_, [&](std::size_t done, std::size_t left) {
    return ::pread(descriptor_, bytes + done, left, place + static_cast<off_t>(done));
  });
  if (in_file() == 0) release_file_space();
  return error == 0 ? Status() : failed("read", error);
}

void RecordStack::clear() {
  size_ = 0;
  release_file_space();
}

void RecordStack::release_file_space() {
  if (descriptor_ >= 0 && ::ftruncate(descriptor_, 0) != 0) return;  // it goes with the file
}

}  // namespace tnl
