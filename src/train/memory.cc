// train_memory: the same plans that the pieces of a run are made by.
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/try.h"
#include "model/activations.h"
#include "model/token_memory.h"
#include "tnl/train.h"
#include "train/setup.h"

namespace tnl {

Result<std::vector<MemoryItem>> train_memory(const TrainConfig& config, const Device& device) {
  TNL_TRY(validate(config));
  TNL_TRY(check_train_device(device));
  TNL_ASSIGN(const TrainData data, open_train_data(config));
  std::vector<std::string> notes;
  TNL_ASSIGN(const ModelConfig model, train_model_config(config, data, notes));
  const bool on_gpu = device.properties().kind == DeviceKind::kCuda;
  const DType dtype = device.backend().compute_dtype();
  const auto parameters = static_cast<std::size_t>(model.parameter_count());
  const std::int64_t tokens = tokens_per_pass(config);
  std::vector<MemoryItem> items;
  items.push_back({"parameters, f32", parameters * sizeof(float)});
  if (dtype != DType::kF32) {
    items.push_back({"parameters, " + std::string(dtype_name(dtype)),
                     parameters * static_cast<std::size_t>(dtype_size(dtype))});
  }
  items.push_back({"gradients", parameters * sizeof(float)});
  items.push_back({"moments of AdamW", 2 * parameters * sizeof(float)});
  items.push_back({"activations", activation_bytes(model, {.dtype = dtype,
                                                           .tokens = tokens,
                                                           .sequences = tokens,
                                                           .training = true,
                                                           .recompute = recompute_of(config),
                                                           .on_gpu = on_gpu})});
  items.push_back({"token ids and losses", TokenMemory::bytes(tokens)});
  return items;
}

}  // namespace tnl
