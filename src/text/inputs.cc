#include "text/inputs.h"

#include <glob.h>

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/try.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

bool holds_records(fs::path path) {
  if (path.extension() == ".zst" || path.extension() == ".gz") path.replace_extension();
  return path.extension() == ".jsonl" || path.extension() == ".ndjson";
}

Result<std::vector<fs::path>> files_below(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error), end;
  for (; !error && entry != end; entry.increment(error)) {
    const bool hidden = entry->path().filename().string().starts_with('.');
    std::error_code ignored;
    if (hidden && entry->is_directory(ignored)) entry.disable_recursion_pending();
    if (!hidden && entry->is_regular_file(ignored)) files.push_back(entry->path());
  }
  if (error) {
    return io_error(fmt::format("cannot read the folder {}: {}", folder.string(), error.message()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<fs::path> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<fs::path> paths;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  std::sort(paths.begin(), paths.end());
  return paths;
}

class InputList {
 public:
  Status add(const fs::path& path) {
    std::error_code error;
    if (!fs::is_directory(path, error)) return add_file(path, false);
    TNL_ASSIGN(const auto files, files_below(path));
    if (files.empty()) {
      return invalid_argument(fmt::format("no files in the folder {}", path.string()));
    }
    for (const fs::path& file : files) TNL_TRY(add_file(file, true));
    return {};
  }
  std::vector<InputFile> take() { return std::move(files_); }

 private:
  Status add_file(const fs::path& path, bool from_folder) {
    std::error_code error;
    const fs::path real = fs::canonical(path, error);
    if (error) return not_found(fmt::format("no input at {}", path.string()));
    if (!fs::is_regular_file(real, error)) {
      return invalid_argument(
          fmt::format("cannot read {}: expected a regular file or a folder", path.string()));
    }
    if (!known_.insert(real).second) return {};
    const auto bytes = static_cast<std::int64_t>(fs::file_size(real, error));
    if (error) return io_error(fmt::format("cannot read {}: {}", path.string(), error.message()));
    files_.push_back({path, bytes, holds_records(path), from_folder});
    return {};
  }

  std::vector<InputFile> files_;
  std::set<fs::path> known_;
};

}  // namespace

Result<std::vector<InputFile>> find_inputs(const std::vector<std::string>& inputs) {
  if (inputs.empty()) return invalid_argument("no input files");
  InputList list;
  for (const std::string& input : inputs) {
    std::error_code error;
    if (fs::exists(input, error)) {
      TNL_TRY(list.add(input));
      continue;
    }
    const std::vector<fs::path> found = matches(input);
    if (found.empty()) {
      return not_found(fmt::format("no input at {}: expected a file, a folder or a glob", input));
    }
    for (const fs::path& path : found) TNL_TRY(list.add(path));
  }
  return list.take();
}

}  // namespace tnl
