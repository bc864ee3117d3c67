// What a run is made of: its data and its model, checked against each other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/dataset.h"
#include "tnl/model.h"
#include "tnl/tokenizer.h"
#include "tnl/train.h"

namespace tnl {

struct TrainData {
  Dataset dataset;
  std::shared_ptr<const Tokenizer> tokenizer;
};

Result<TrainData> open_train_data(const TrainConfig& config);

// The model before the first step: new from a preset or a config, or loaded from `init`. `notes`
// gets what was chosen for the user.
Result<Model> make_train_model(const TrainConfig& config, const TrainData& data,
                               const Device& device, std::vector<std::string>& notes);

// Training is f32 arithmetic on f32 parameters.
Status check_train_device(const Device& device);

}  // namespace tnl
