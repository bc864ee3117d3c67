#include "train/memory.h"

#include <limits>
#include <string>

#include "backend/backend.h"
#include "core/try.h"
#include "train/setup.h"

namespace tnl {

Result<std::vector<MemoryItem>> plan_memory(const ModelConfig& config, const Device& device,
                                            const Execution::Limits& limits,
                                            std::span<const std::int64_t> lengths) {
  Backend& backend = device.backend();
  const DType dtype = backend.compute_dtype();
  const auto parameters = static_cast<std::size_t>(config.parameter_count());
  TNL_ASSIGN(const Execution::Memory memory, Execution::plan(config, device, limits, lengths));
  const MemoryUse own = backend.own_memory(limits.tokens, config.hidden);
  std::vector<MemoryItem> items;
  items.push_back({"parameters, f32", parameters * sizeof(float)});
  if (dtype != DType::kF32) {
    items.push_back({"parameters, " + std::string(dtype_name(dtype)),
                     parameters * static_cast<std::size_t>(dtype_size(dtype))});
  }
  items.push_back({"gradients", parameters * sizeof(float)});
  items.push_back({"moments of AdamW", 2 * parameters * sizeof(float)});
  items.push_back({"activations", memory.activations});
  items.push_back({"token ids and losses", memory.tokens});
  if (memory.states > 0) items.push_back({"states between chunks", memory.states});
  items.push_back({"workspace", memory.workspace + own.allocated});
  if (own.taken > own.allocated) {
    items.push_back({"code of the kernels", own.taken - own.allocated});
  }
  return items;
}

std::size_t bytes_of(const std::vector<MemoryItem>& items) {
  std::size_t all = 0;
  for (const MemoryItem& item : items) all += item.bytes;
  return all;
}

Result<std::vector<MemoryItem>> train_memory(const TrainConfig& config, const Device& device) {
  TNL_TRY(validate(config));
  TNL_TRY(check_train_device(device));
  TNL_ASSIGN(const TrainData data, open_train_data(config));
  std::vector<std::string> notes;
  TNL_ASSIGN(const ModelConfig model, train_model_config(config, data, notes));
  return plan_memory(model, device, execution_limits(config, "."), sequence_lengths(config));
}

}  // namespace tnl
