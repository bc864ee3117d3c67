// Memory of the host that a device copies from and to at its full speed.
#pragma once

#include <cstddef>
#include <utility>

#include "backend/backend.h"
#include "core/try.h"

namespace tnl {

// The backend outlives it.
class TransferBuffer {
 public:
  static Result<TransferBuffer> allocate(Backend& backend, std::size_t bytes, const char* purpose) {
    TransferBuffer buffer(backend);
    TNL_ASSIGN(buffer.data_, backend.allocate_host(bytes, purpose));
    return buffer;
  }
  TransferBuffer(TransferBuffer&& other) noexcept
      : backend_(other.backend_), data_(std::exchange(other.data_, nullptr)) {}
  TransferBuffer& operator=(TransferBuffer&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~TransferBuffer() { backend_->free_host(data_); }

  void* data() const { return data_; }

 private:
  explicit TransferBuffer(Backend& backend) : backend_(&backend) {}

  Backend* backend_;
  void* data_ = nullptr;
};

}  // namespace tnl
