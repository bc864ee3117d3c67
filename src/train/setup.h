// What a run is made of: its data and its model, checked against each other, and the bridge between
// the two.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "model/execution.h"
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

// The shape of the model. `notes` gets what was chosen for the user.
Result<ModelConfig> train_model_config(const TrainConfig& config, const TrainData& data,
                                       std::vector<std::string>& notes);

// The model before the first step: new from a preset or a config, or loaded from `init`. `notes`
// gets what was chosen for the user.
Result<Model> make_train_model(const TrainConfig& config, const TrainData& data,
                               const Device& device, std::vector<std::string>& notes);

// How the data loader and the execution see the settings.
LoaderOptions loader_options(const TrainConfig& config, Dataset::Split split);
std::int64_t tokens_per_pass(const TrainConfig& config);
Recompute recompute_of(const TrainConfig& config);
// States between chunks that find no room in memory go to the directory of the run.
Execution::Limits execution_limits(const TrainConfig& config, const std::filesystem::path& run);
// For which of them memory has to be there.
std::vector<std::int64_t> sequence_lengths(const TrainConfig& config);
// Tokens of an outline, read into `buffer` piece by piece.
LongBatch read_long_batch(const DataLoader& loader, const BatchOutline& outline, DataBatch& buffer);

// Training is f32 arithmetic on f32 parameters.
Status check_train_device(const Device& device);

}  // namespace tnl
