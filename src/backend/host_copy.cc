#include "backend/host_copy.h"

#include "core/try.h"

namespace tnl {

Result<HostCopy> HostCopy::room(Backend& backend, void* data, std::size_t bytes) {
  HostCopy copy(backend, data, bytes);
  if (backend.properties().kind == DeviceKind::kCuda) {
    TNL_ASSIGN(copy.copy_, Buffer::allocate(bytes, "a copy of the GPU's memory"));
    copy.host_ = copy.copy_.data();
  }
  return copy;
}

Result<HostCopy> HostCopy::download(Backend& backend, const void* data, std::size_t bytes) {
  TNL_ASSIGN(HostCopy copy, room(backend, const_cast<void*>(data), bytes));
  if (copy.host_ != copy.device_) TNL_TRY(backend.download(copy.host_, data, bytes));
  return copy;
}

Status HostCopy::upload() const {
  if (host_ == device_) return {};
  return backend_->upload(device_, host_, bytes_);
}

}  // namespace tnl
