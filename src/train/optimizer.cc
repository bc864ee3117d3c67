#include "train/optimizer.h"

#include <cmath>

#include "core/check.h"
#include "core/try.h"
#include "model/layout.h"
#include "model/model_impl.h"

namespace tnl {
namespace {

template <class T>
bool adjoins(std::span<T> left, std::span<T> right) {
  return left.data() + left.size() == right.data();
}

template <class T>
std::span<T> joined(std::span<T> left, std::span<T> right) {
  return {left.data(), left.size() + right.size()};
}

}  // namespace

std::vector<OptimizerTensor> optimizer_tensors(const Model& master, const Model& model,
                                               const Gradients& gradients) {
  const std::vector<ParameterSpec>& layout = master.impl().layout;
  const std::vector<NamedTensor>& parameters = master.parameters();
  TNL_CHECK(model.dtype() == DType::kF32 || model.dtype() == DType::kBF16);
  std::vector<OptimizerTensor> tensors;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const TensorView& value = parameters[i].view;
    const TensorView& gradient = gradients.tensor(i);
    TNL_CHECK(value.dtype == DType::kF32 && gradient.dtype == DType::kF32);
    const auto elements = static_cast<std::size_t>(value.elements());
    const ParameterRole role = layout[i].role;
    void* const stored = model.parameters()[i].view.data;
    const bool is_copy = stored != value.data;
    TNL_CHECK(is_copy == (model.dtype() == DType::kBF16));
    tensors.push_back({parameters[i].name,
                       {static_cast<float*>(value.data), elements},
                       {static_cast<const float*>(gradient.data), elements},
                       role != ParameterRole::kEmbedding && role != ParameterRole::kTheta,
                       is_copy ? static_cast<std::uint16_t*>(stored) : nullptr});
  }
  return tensors;
}

Result<Optimizer> Optimizer::create(const Device& device, std::vector<OptimizerTensor> tensors,
                                    const Options& options) {
  Optimizer optimizer(device, options);
  std::size_t elements = 0;
  for (const OptimizerTensor& tensor : tensors) elements += tensor.values.size();
  TNL_ASSIGN(optimizer.memory_,
             DeviceBuffer::allocate(device, 2 * elements * sizeof(float), "the moments of AdamW"));
  float* first = static_cast<float*>(optimizer.memory_.data());
  float* second = first + elements;
  for (const OptimizerTensor& tensor : tensors) {
    const std::size_t size = tensor.values.size();
    const Group group{tensor.values,  tensor.gradients, {first, size},
                      {second, size}, tensor.decay,     tensor.rounded};
    first += size;
    second += size;
    Group* last = optimizer.groups_.empty() ? nullptr : &optimizer.groups_.back();
    if (last != nullptr && last->decay == group.decay && adjoins(last->values, group.values) &&
        adjoins(last->gradients, group.gradients) &&
        group.rounded ==
            (last->rounded != nullptr ? last->rounded + last->values.size() : nullptr)) {
      *last = {joined(last->values, group.values),
               joined(last->gradients, group.gradients),
               joined(last->first, group.first),
               joined(last->second, group.second),
               group.decay,
               last->rounded};
    } else {
      optimizer.groups_.push_back(group);
    }
  }
  optimizer.tensors_ = std::move(tensors);
  return optimizer;
}

Optimizer::Outcome Optimizer::step(double learning_rate) {
  double squares = 0;
  for (const Group& group : groups_) squares += device_.backend().sum_of_squares(group.gradients);
  Outcome outcome{.gradient_norm = std::sqrt(squares)};
  if (!std::isfinite(outcome.gradient_norm)) return outcome;
  const bool clipped = options_.clip > 0 && outcome.gradient_norm > options_.clip;
  const double scale = clipped ? options_.clip / outcome.gradient_norm : 1;
  ++updates_;
  for (const Group& group : groups_) {
    device_.backend().adamw(
        {.parameters = group.values,
         .gradients = group.gradients,
         .first_moment = group.first,
         .second_moment = group.second,
         .rounded = group.rounded,
         .learning_rate = static_cast<float>(learning_rate),
         .beta1 = static_cast<float>(options_.beta1),
         .beta2 = static_cast<float>(options_.beta2),
         .epsilon = static_cast<float>(options_.epsilon),
         .weight_decay = static_cast<float>(group.decay ? options_.weight_decay : 0),
         .gradient_scale = static_cast<float>(scale),
         .step = updates_});
  }
  outcome.applied = true;
  return outcome;
}

std::vector<Optimizer::Moment> Optimizer::moments() {
  std::vector<Moment> moments;
  float* next = static_cast<float*>(memory_.data());
  for (const char* prefix : {"first_moment.", "second_moment."}) {
    for (const OptimizerTensor& tensor : tensors_) {
      moments.push_back({prefix + tensor.name, {next, tensor.values.size()}});
      next += tensor.values.size();
    }
  }
  return moments;
}

}  // namespace tnl
