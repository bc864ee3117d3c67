// Memory of a device as the host sees it: the memory itself where the device is the host, a copy of
// a GPU's.
#pragma once

#include <cstddef>

#include "backend/backend.h"
#include "core/buffer.h"
#include "tnl/status.h"

namespace tnl {

class HostCopy {
 public:
  // What `data` holds once all queued work is done.
  static Result<HostCopy> download(Backend& backend, const void* data, std::size_t bytes);
  // Room to write what `data` is to hold; put it there with upload().
  static Result<HostCopy> room(Backend& backend, void* data, std::size_t bytes);

  void* data() const { return host_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(host_);
  }
  Status upload() const;

 private:
  HostCopy(Backend& backend, void* device, std::size_t bytes)
      : backend_(&backend), device_(device), host_(device), bytes_(bytes) {}

  Backend* backend_;
  void* device_;
  void* host_;
  std::size_t bytes_;
  Buffer copy_;  // empty where the device is the host
};

}  // namespace tnl
