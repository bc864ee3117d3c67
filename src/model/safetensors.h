// The safetensors format: an 8-byte length, a JSON header, raw little-endian tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/file.h"
#include "tnl/status.h"
#include "tnl/tensor.h"

namespace tnl {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;  // rank 0 to 4
  const std::byte* data = nullptr;  // into the map; not aligned to more than one byte
  std::int64_t elements = 0;
};

// A memory-mapped file. The header is checked whole: every range inside the file, sizes matching
// shapes, no overlap, no gap.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(const std::filesystem::path& path);
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // in file order
  const SafetensorsEntry* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

struct SafetensorsWrite {
  std::string name;
  DType dtype = DType::kF32;  // of the file; `view` is converted to it
  TensorView view;            // contiguous; f64, f32, bf16, f16 among each other
};
// Temporary name, sync, rename.
Status write_safetensors(const std::filesystem::path& path,
                         const std::vector<SafetensorsWrite>& tensors,
                         const std::map<std::string, std::string>& metadata = {});

}  // namespace tnl
