// Zeroed memory aligned to a cache line, and an arena that hands out pieces of one such block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "tnl/status.h"

namespace tnl {

inline constexpr std::size_t kAlignment = 64;

class Buffer {
 public:
  Buffer() = default;
  // Zeroed. Fails with a sentence that says how much was asked for and what it was for.
  static Result<Buffer> allocate(std::size_t bytes, const char* purpose);

  void* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }

  // Gives the memory to the caller, who returns it with free().
  void* release() {
    bytes_ = 0;
    return data_.release();
  }
  static void free(void* data);

 private:
  struct Free {
    void operator()(void* data) const { free(data); }
  };
  std::unique_ptr<void, Free> data_;
  std::size_t bytes_ = 0;
};

// Plans first, allocates once: add() every piece, allocate(), then at() gives the addresses.
class Arena {
 public:
  // Returns the offset of the piece.
  std::size_t add(std::size_t bytes);
  std::size_t bytes() const { return bytes_; }
  Status allocate(const char* purpose);
  template <class T = void>
  T* at(std::size_t offset) const {
    return reinterpret_cast<T*>(static_cast<char*>(buffer_.data()) + offset);
  }

 private:
  std::size_t bytes_ = 0;
  Buffer buffer_;
};

}  // namespace tnl
