#include <cmath>

#include "backend/host_copy.h"
#include "core/check.h"
#include "core/convert.h"
#include "core/rng.h"
#include "core/try.h"
#include "model/model_impl.h"

namespace tnl {
namespace {

TensorView parameter_view(void* data, DType dtype, const ParameterSpec& spec) {
  TensorView view{.data = data, .dtype = dtype, .rank = static_cast<int>(spec.shape.size())};
  std::int64_t stride = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    view.shape[axis] = spec.shape[axis];
    view.stride[axis] = stride;
    stride *= spec.shape[axis];
  }
  return view;
}

// θ[h, 0, j] = 10000^(-2 (h D + j) / (H D)): the exponents run over the whole model width, so every
// head has a band of its own (released code).
double lrpe_frequency(std::int64_t index, std::int64_t hidden) {
  return std::pow(10000.0, -2.0 * static_cast<double>(index) / static_cast<double>(hidden));
}

}  // namespace

ModelWeights arrange_weights(const ModelConfig& config, void* data, DType dtype) {
  ModelWeights weights;
  weights.layers.resize(static_cast<std::size_t>(config.layers));
  char* next = static_cast<char*>(data);
  for (const ParameterSpec& spec : parameter_layout(config)) {
    const std::int64_t columns = spec.shape.back();
    Matrix matrix = Matrix::contiguous(next, dtype, spec.elements() / columns, columns);
    next += spec.elements() * dtype_size(dtype);
    LayerWeights* layer = spec.layer < 0 ? nullptr : &weights.layers[spec.layer];
    switch (spec.role) {
      case ParameterRole::kEmbedding:
        weights.embedding = weights.head = matrix;
        break;
      case ParameterRole::kProjection:
        layer->projection = matrix;
        break;
      case ParameterRole::kGateDown:
        layer->gate_down = matrix;
        break;
      case ParameterRole::kGateUp:
        layer->gate_up = matrix;
        break;
      case ParameterRole::kTheta:
        layer->theta = Matrix::contiguous(matrix.data, dtype, 1, spec.elements());
        break;
      case ParameterRole::kOutput:
        layer->output = matrix;
        break;
      case ParameterRole::kGluLinear:
        layer->glu_in = matrix;
        break;
      case ParameterRole::kGluGate:
        layer->glu_in.rows += matrix.rows;
        break;
      case ParameterRole::kGluOutput:
        layer->glu_out = matrix;
        break;
      case ParameterRole::kHead:
        weights.head = matrix;
        break;
    }
  }
  return weights;
}

Result<std::shared_ptr<Model::Impl>> Model::Impl::allocate(const ModelConfig& config,
                                                           const Device& device, DType dtype) {
  auto impl = std::make_shared<Impl>(config, device, dtype);
  impl->layout = parameter_layout(config);
  std::int64_t elements = 0;
  for (const ParameterSpec& spec : impl->layout) elements += spec.elements();
  TNL_ASSIGN(impl->memory,
             DeviceBuffer::allocate(device, static_cast<std::size_t>(elements * dtype_size(dtype)),
                                    "parameters"));
  char* next = static_cast<char*>(impl->memory.data());
  for (const ParameterSpec& spec : impl->layout) {
    impl->parameters.push_back({spec.name, parameter_view(next, dtype, spec)});
    next += spec.elements() * dtype_size(dtype);
  }
  impl->weights = arrange_weights(config, impl->memory.data(), dtype);
  return impl;
}

Result<Model> Model::create(const ModelConfig& config, const Device& device, std::uint64_t seed,
                            std::optional<DType> wanted) {
  TNL_TRY(config.validate());
  const DType dtype = wanted.value_or(device.backend().sum_dtype());
  TNL_ASSIGN(std::shared_ptr<Impl> impl, Impl::allocate(config, device, dtype));
  Rng rng(seed);
  std::vector<double> values;
  for (std::size_t i = 0; i < impl->layout.size(); ++i) {
    const ParameterSpec& spec = impl->layout[i];
    const std::int64_t elements = spec.elements();
    values.resize(static_cast<std::size_t>(elements));
    for (std::int64_t j = 0; j < elements; ++j) {
      values[j] = spec.role == ParameterRole::kTheta ? lrpe_frequency(j, config.hidden)
                                                     : config.init_std * rng.normal();
    }
    if (spec.role == ParameterRole::kEmbedding && config.pad_id >= 0) {  // as padding_idx does
      const std::int64_t first = config.pad_id * config.width;
      for (std::int64_t j = first; j < first + config.width; ++j) values[j] = 0;
    }
    TNL_ASSIGN(const HostCopy stored,
               HostCopy::room(device.backend(), impl->parameters[i].view.data,
                              static_cast<std::size_t>(elements * dtype_size(dtype))));
    convert(values.data(), DType::kF64, stored.data(), dtype, elements);
    TNL_TRY(stored.upload());
  }
  return Model(std::move(impl));
}

Result<Model> convert_model(const Model& model, DType dtype) {
  if (model.dtype() == dtype) return model;
  TNL_ASSIGN(std::shared_ptr<Model::Impl> impl,
             Model::Impl::allocate(model.config(), model.device(), dtype));
  for (std::size_t i = 0; i < impl->parameters.size(); ++i) {
    const TensorView& from = model.parameters()[i].view;
    model.device().backend().copy(
        Matrix::contiguous(from.data, from.dtype, 1, from.elements()),
        Matrix::contiguous(impl->parameters[i].view.data, dtype, 1, from.elements()));
  }
  return Model::share(std::move(impl));
}

const ModelConfig& Model::config() const {
  return impl_->config;
}
const Device& Model::device() const {
  return impl_->device;
}
DType Model::dtype() const {
  return impl_->dtype;
}
const std::vector<NamedTensor>& Model::parameters() const {
  return impl_->parameters;
}

}  // namespace tnl
