// Records of one size, last in, first out: in memory up to a budget, behind that in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/buffer.h"
#include "tnl/status.h"

namespace tnl {

// The file is made when it is first needed, in `directory`, and has no name: it is gone with the
// process, however that ends. Memory is kept for the next use, the file's space is given back
// whenever no record is left in it. Nothing else grows with the number of records.
class RecordStack {
 public:
  // memory_bytes: for records; less than one record sends all of them to the file. `purpose`: what
  // the records are, for messages.
  RecordStack(std::size_t record_bytes, std::size_t memory_bytes, std::filesystem::path directory,
              const char* purpose);
  RecordStack(RecordStack&& other) noexcept;
  RecordStack& operator=(RecordStack&& other) noexcept;
  ~RecordStack();

  // Copies record_bytes from `record`.
  Status push(const void* record);
  // Copies the newest record to `record` and drops it. There must be one.
  Status pop(void* record);
  void clear();

  std::int64_t size() const { return size_; }
  std::int64_t in_file() const;  // of them

 private:
  Status open_file();
  Status failed(const char* verb, int error) const;
  void release_file_space();

  std::size_t record_bytes_;
  std::int64_t memory_records_;  // how many may stay in memory
  std::filesystem::path directory_;
  const char* purpose_;
  std::vector<Buffer> memory_;
  std::int64_t size_ = 0;
  int descriptor_ = -1;
};

}  // namespace tnl
