#include <memory>
#include <utility>

#include "backend/backend.h"
#include "core/check.h"
#include "core/try.h"
#include "model/execution.h"
#include "model/model_impl.h"

namespace tnl {

std::size_t ModelState::bytes_of(const ModelConfig& config, const Device& device,
                                 std::int64_t sequences) {
  const std::int64_t head_values = config.heads * config.head_dim();
  std::int64_t elements = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    elements += sequences * config.key_dim(layer) * head_values;
  }
  return static_cast<std::size_t>(elements * dtype_size(device.backend().sum_dtype()));
}

Result<ModelState> ModelState::create(const Model& model, std::int64_t sequences) {
  const ModelConfig& config = model.config();
  const DType dtype = model.device().backend().sum_dtype();
  const std::size_t bytes = bytes_of(config, model.device(), sequences);
  ModelState state(model.device());
  TNL_ASSIGN(DeviceBuffer buffer,
             DeviceBuffer::allocate(model.device(), bytes, "the state of the running texts"));
  state.buffer_ = std::make_shared<DeviceBuffer>(std::move(buffer));
  char* next = static_cast<char*>(state.buffer_->data());
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    state.layers_.push_back(TensorView::contiguous(
        next, dtype, {sequences, config.heads, config.key_dim(layer), config.head_dim()}));
    next += state.layers_.back().elements() * dtype_size(dtype);
  }
  state.positions_.assign(static_cast<std::size_t>(sequences), 0);
  return state;
}

bool ModelState::whole() const {
  std::int64_t bytes = 0;
  for (const TensorView& layer : layers_) bytes += layer.elements() * dtype_size(layer.dtype);
  return static_cast<std::size_t>(bytes) == buffer_->bytes();
}

ModelState ModelState::part(std::int64_t first, std::int64_t count) const {
  TNL_CHECK(first >= 0 && count >= 0 && first + count <= sequences());
  ModelState other(*this);
  for (TensorView& layer : other.layers_) {
    const std::int64_t sequence = layer.elements() / layer.shape[0] * dtype_size(layer.dtype);
    layer.data = static_cast<char*>(layer.data) + first * sequence;
    layer.shape[0] = count;
  }
  other.positions_.assign(positions_.begin() + first, positions_.begin() + first + count);
  return other;
}

Status ModelState::copy_to(void* block) const {
  TNL_CHECK(whole());
  return device_.download(block, buffer_->data(), buffer_->bytes());
}

Status ModelState::copy_from(const void* block) {
  TNL_CHECK(whole());
  return device_.upload(buffer_->data(), block, buffer_->bytes());
}

Result<ModelState> ModelState::copy() const {
  TNL_CHECK(whole());
  ModelState other(device_);
  TNL_ASSIGN(DeviceBuffer buffer,
             DeviceBuffer::allocate(device_, buffer_->bytes(), "a copy of a state"));
  other.buffer_ = std::make_shared<DeviceBuffer>(std::move(buffer));
  char* next = static_cast<char*>(other.buffer_->data());
  for (TensorView view : layers_) {
    const TensorView from = view;
    view.data = next;
    next += view.elements() * dtype_size(view.dtype);
    other.layers_.push_back(view);
    device_.backend().copy(Matrix::contiguous(from.data, from.dtype, 1, from.elements()),
                           Matrix::contiguous(view.data, view.dtype, 1, view.elements()));
  }
  other.positions_ = positions_;
  return other;
}

void ModelState::copy_sequence(const ModelState& other, std::int64_t from, std::int64_t to) {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto one = [i](const ModelState& state, std::int64_t sequence) {
      const TensorView& layer = state.layers_[i];
      return Matrix::contiguous(layer.data, layer.dtype, state.sequences(),
                                layer.elements() / state.sequences())
          .row_block(sequence, 1);
    };
    device_.backend().copy(one(other, from), one(*this, to));
  }
  positions_[to] = other.positions_[from];
}

void ModelState::reset() {
  for (const TensorView& layer : layers_) {
    device_.backend().zero(layer.data, static_cast<std::size_t>(layer.elements()) *
                                           static_cast<std::size_t>(dtype_size(layer.dtype)));
  }
  positions_.assign(positions_.size(), 0);
}

Result<Gradients> Gradients::create(const Model& model) {
  const DType dtype = model.device().backend().sum_dtype();
  Gradients gradients(model.device());
  std::int64_t elements = 0;
  for (const NamedTensor& parameter : model.parameters()) elements += parameter.view.elements();
  TNL_ASSIGN(
      gradients.buffer_,
      DeviceBuffer::allocate(model.device(), static_cast<std::size_t>(elements * dtype_size(dtype)),
                             "gradients"));
  char* next = static_cast<char*>(gradients.buffer_.data());
  for (const NamedTensor& parameter : model.parameters()) {
    TensorView view = parameter.view;
    view.data = next;
    view.dtype = dtype;
    gradients.tensors_.push_back(view);
    next += view.elements() * dtype_size(dtype);
  }
  return gradients;
}

void Gradients::zero() {
  device_.backend().zero(buffer_.data(), buffer_.bytes());
}

std::span<float> Gradients::flat() {
  TNL_CHECK(!tensors_.empty() && tensors_[0].dtype == DType::kF32);
  return {static_cast<float*>(buffer_.data()), buffer_.bytes() / sizeof(float)};
}

void* Gradients::data() const {
  return buffer_.data();
}

}  // namespace tnl
