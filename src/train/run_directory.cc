#include "train/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/file.h"
#include "core/try.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTemporary = ".tmp.";
constexpr const char* kLock = "lock";

Status refused(const char* verb, const fs::path& path, int error) {
  return io_error(fmt::format("cannot {} {}: {}", verb, path.string(), strerror(error)));
}

fs::path temporary_name(const fs::path& place, const char* purpose) {
  fs::path path = place;
  path += fmt::format("{}{}{}", kTemporary, purpose, ::getpid());
  return path;
}

Status sync_file(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return refused("open", path, errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  return error == 0 ? Status() : refused("sync", path, error);
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

Status move(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return refused("write", to, errno);
}

// Puts `from` in the place of `to`, which exists; the old directory then lies at `from`.
Status exchange(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return {};
  if (errno != ENOSYS && errno != EINVAL) return refused("write", to, errno);
  // File systems without exchange: for a moment nothing is at `to`.
  const fs::path old = temporary_name(to, "old.");
  TNL_TRY(move(to, old));
  TNL_TRY(move(from, to));
  return move(old, from);
}

}  // namespace

Result<RunLock> RunLock::take(const RunDirectory& run) {
  const fs::path path = run.root / kLock;
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) return refused("open", path, errno);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return RunLock(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (error != EWOULDBLOCK) return refused("lock", path, error);
  return invalid_argument(
      fmt::format("run {}: another process is training here, expected none", run.root.string()));
}

RunLock::RunLock(RunLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

RunLock::~RunLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<StagedDirectory> StagedDirectory::create(const fs::path& place) {
  StagedDirectory staged(place, temporary_name(place, ""));
  remove_quietly(staged.path_);
  TNL_TRY(make_directories(staged.path_));
  return staged;
}

StagedDirectory::StagedDirectory(StagedDirectory&& other) noexcept
    : place_(std::move(other.place_)), path_(std::exchange(other.path_, {})) {}

StagedDirectory::~StagedDirectory() {
  if (!path_.empty()) remove_quietly(path_);
}

Status StagedDirectory::publish() {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_, error)) {
    if (entry.is_regular_file(error)) TNL_TRY(sync_file(entry.path()));
  }
  if (error) return refused("read", path_, error.value());
  TNL_TRY(sync_directory(path_));
  TNL_TRY(fs::exists(place_, error) ? exchange(path_, place_) : move(path_, place_));
  return sync_directory(place_.parent_path());
}

Status remove_directory(const fs::path& directory) {
  const fs::path gone = temporary_name(directory, "old.");
  TNL_TRY(move(directory, gone));
  remove_quietly(gone);
  return {};
}

bool is_unused(const RunDirectory& run) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(run.root, error)) {
    const std::string name = entry.path().filename().string();
    if (name != kLock && name.find(kTemporary) == std::string::npos) return false;
  }
  return !error;
}

void remove_leftovers(const RunDirectory& run) {
  for (const fs::path& directory : {run.root, run.checkpoints()}) {
    std::error_code error;
    std::vector<fs::path> leftovers;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
      const std::string name = entry.path().filename().string();
      if (name.find(kTemporary) != std::string::npos) leftovers.push_back(entry.path());
    }
    for (const fs::path& leftover : leftovers) remove_quietly(leftover);
  }
}

}  // namespace tnl
