// From what the user names to a list of files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tnl/status.h"

namespace tnl {

struct InputFile {
  std::filesystem::path path;
  std::int64_t stored_bytes = 0;
  bool records = false;      // JSON Lines
  bool from_folder = false;  // not named by the user: skipped where it is binary
};

// See PackOptions::inputs. An input that gives no file is an error.
Result<std::vector<InputFile>> find_inputs(const std::vector<std::string>& inputs);

}  // namespace tnl
