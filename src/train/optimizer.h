// AdamW over the parameters of a model, with clipping by the global norm.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/execution.h"
#include "tnl/model.h"
#include "tnl/status.h"

namespace tnl {

// One tensor of parameters and its gradient, both f32, contiguous and in memory of the device.
struct OptimizerTensor {
  std::string name;
  std::span<float> values;
  std::span<const float> gradients;
  bool decay = true;
  std::uint16_t* rounded = nullptr;  // where given: gets the updated values in bf16
};

// `master` is stored in f32. `model` is the same model as the passes read it: `master` itself, or a
// copy in bf16 that follows every update. Weight decay is for matrices that multiply: not the
// embedding table (nor a head tied to it) and not the LRPE frequencies. An untied head is such a
// matrix.
std::vector<OptimizerTensor> optimizer_tensors(const Model& master, const Model& model,
                                               const Gradients& gradients);

class Optimizer {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
    double weight_decay = 0.1;
    double clip = 1.0;  // 0: off
  };
  struct Outcome {
    double gradient_norm = 0;  // before clipping
    bool applied = false;      // false: the norm is not finite, nothing was touched
  };
  // A moment of one tensor, in the order of the tensors, in memory of the device.
  struct Moment {
    std::string name;  // "first_moment." or "second_moment." and the tensor's name
    std::span<float> values;
  };

  // The memory of `tensors`, which is the device's, must outlive the optimizer.
  static Result<Optimizer> create(const Device& device, std::vector<OptimizerTensor> tensors,
                                  const Options& options);

  // One update with the gradients as they are now.
  Outcome step(double learning_rate);

  // Updates so far, for the bias correction.
  std::int64_t updates() const { return updates_; }
  void set_updates(std::int64_t updates) { updates_ = updates; }
  std::vector<Moment> moments();
  std::size_t bytes() const { return memory_.bytes(); }
  const Device& device() const { return device_; }

 private:
  // Tensors that lie one behind the other and decay alike, with their moments.
  struct Group {
    std::span<float> values;
    std::span<const float> gradients;
    std::span<float> first, second;
    bool decay = true;
    std::uint16_t* rounded = nullptr;
  };
  Optimizer(const Device& device, const Options& options) : device_(device), options_(options) {}

  Device device_;
  Options options_;
  std::int64_t updates_ = 0;
  std::vector<OptimizerTensor> tensors_;
  std::vector<Group> groups_;
  DeviceBuffer memory_;  // all first moments, then all second moments
};

}  // namespace tnl
