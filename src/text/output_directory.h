// A directory that is written beside its place and takes it when all is there.
#pragma once

#include <filesystem>

#include "tnl/status.h"

namespace tnl {

// Written under NAME.tmp.<pid>, which is locked for as long as the process lives: what a killed one
// left is free to be removed by the next that writes NAME.
class OutputDirectory {
 public:
  static Result<OutputDirectory> create(const std::filesystem::path& target);
  // Removes what was written, if it was not committed.
  ~OutputDirectory();
  OutputDirectory(OutputDirectory&& other) noexcept;
  OutputDirectory& operator=(OutputDirectory&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Syncs it and gives it its name; an empty directory there gives way.
  Status commit();

 private:
  explicit OutputDirectory(const std::filesystem::path& target);
  Status remove_abandoned() const;

  std::filesystem::path target_, path_;
  int lock_ = -1;  // the descriptor of the directory; -1: not there, or committed
};

}  // namespace tnl
