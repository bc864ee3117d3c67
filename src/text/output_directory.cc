#include "text/output_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <utility>

#include <fmt/format.h>

#include "core/file.h"
#include "core/try.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTemporary = ".tmp.";

// Opens and locks a directory; -1 where a living process has it, or the file system has no locks.
int lock_directory(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0 && ::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  if (descriptor >= 0) ::close(descriptor);
  return -1;
}

}  // namespace

OutputDirectory::OutputDirectory(const fs::path& target)
    : target_(fs::absolute(target).lexically_normal()) {
  if (!target_.has_filename()) target_ = target_.parent_path();  // "name/"
  path_ = target_;
  path_ += fmt::format("{}{}", kTemporary, ::getpid());
}

OutputDirectory::OutputDirectory(OutputDirectory&& other) noexcept
    : target_(std::move(other.target_)),
      path_(std::exchange(other.path_, {})),
      lock_(std::exchange(other.lock_, -1)) {}

OutputDirectory::~OutputDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

Result<OutputDirectory> OutputDirectory::create(const fs::path& target) {
  OutputDirectory output(target);
  TNL_TRY(output.remove_abandoned());
  TNL_TRY(make_directories(output.path_));
  output.lock_ = lock_directory(output.path_);
  return output;
}

Status OutputDirectory::remove_abandoned() const {
  const std::string prefix = target_.filename().string() + kTemporary;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(target_.parent_path(), error)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    const int lock = lock_directory(entry.path());
    if (lock < 0) continue;
    fs::remove_all(entry.path(), error);
    ::close(lock);
    if (error) {
      return io_error(fmt::format("cannot remove {}: {}", entry.path().string(), error.message()));
    }
  }
  return {};
}

Status OutputDirectory::commit() {
  TNL_TRY(sync_directory(path_));
  std::error_code error;
  fs::rename(path_, target_, error);
  if (error) {
    return io_error(fmt::format("cannot write {}: {}", target_.string(), error.message()));
  }
  path_.clear();
  return sync_directory(target_.parent_path());
}

}  // namespace tnl
