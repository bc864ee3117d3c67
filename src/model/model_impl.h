// What a Model holds: its parameters in one block, and them again as the matrices of each layer.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "model/layout.h"
#include "tnl/model.h"

namespace tnl {

struct LayerWeights {
  Matrix projection;          // [4 or 3 hidden, width]
  Matrix gate_down, gate_up;  // tnl3: [gate, width], [hidden, gate]
  Matrix theta;               // LRPE: [1, hidden]
  Matrix output;              // [width, hidden]
  Matrix glu_in;              // l1 above l2: [2 glu, width]
  Matrix glu_out;             // [width, glu]
};

struct ModelWeights {
  Matrix embedding;  // [vocab, width]
  Matrix head;       // [vocab, width]; the embedding where it is tied
  std::vector<LayerWeights> layers;
};

// The same parameters stored in another dtype; `model` itself where it is stored so already.
Result<Model> convert_model(const Model& model, DType dtype);

// The matrices over any block laid out as parameter_layout(): parameters or their gradients.
ModelWeights arrange_weights(const ModelConfig& config, void* data, DType dtype);

struct Model::Impl {
  Impl(ModelConfig model_config, Device model_device, DType storage)
      : config(std::move(model_config)), device(std::move(model_device)), dtype(storage) {}

  // Zeroed parameters. config must be valid.
  static Result<std::shared_ptr<Impl>> allocate(const ModelConfig& config, const Device& device,
                                                DType dtype);

  ModelConfig config;
  Device device;
  DType dtype;
  DeviceBuffer memory;
  std::vector<ParameterSpec> layout;
  std::vector<NamedTensor> parameters;  // one for each entry of layout
  ModelWeights weights;
};

}  // namespace tnl
