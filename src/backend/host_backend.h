// Memory of a backend that works on the host: plain buffers and plain copies.
#pragma once

#include <chrono>
#include <cstring>

#include "backend/backend.h"
#include "core/buffer.h"

namespace tnl {

class HostBackend : public Backend {
 public:
  Result<void*> allocate(std::size_t bytes, const char* purpose) override {
    auto buffer = Buffer::allocate(bytes, purpose);
    if (!buffer.ok()) return buffer.status();
    return buffer->release();
  }
  void free(void* data) override { Buffer::free(data); }
  Result<void*> allocate_host(std::size_t bytes, const char* purpose) override {
    return allocate(bytes, purpose);
  }
  void free_host(void* data) override { Buffer::free(data); }
  Status upload(void* to, const void* from, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return {};
  }
  Status download(void* to, const void* from, std::size_t bytes) override {
    return upload(to, from, bytes);
  }
  Status synchronize() override { return {}; }
  Result<double> time(const std::function<Status()>& work, const TimingOptions&) override {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const Status status = work();
    if (!status.ok()) return status;
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
};

}  // namespace tnl
