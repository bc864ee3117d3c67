#include "train/memory.h"

#include <string>

#include <fmt/format.h>

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
  const MemoryUse own = backend.own_memory(limits.tokens, config.hidden, config.layers);
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
    items.push_back({"code and graphs of the kernels", own.taken - own.allocated});
  }
  return items;
}

std::size_t bytes_of(const std::vector<MemoryItem>& items) {
  std::size_t all = 0;
  for (const MemoryItem& item : items) all += item.bytes;
  return all;
}

namespace {

Result<std::size_t> run_bytes(const ModelConfig& model, const TrainConfig& config,
                              const Device& device) {
  TNL_ASSIGN(const std::vector<MemoryItem> items,
             plan_memory(model, device, execution_limits(config, "."), sequence_lengths(config)));
  return bytes_of(items);
}

std::string mebibytes(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

// The settings that change the least and fit; "" where none does.
Result<std::string> what_fits(const ModelConfig& model, TrainConfig config, const Device& device,
                              std::size_t room) {
  std::string flags;
  const auto fits = [&]() -> Result<bool> {
    TNL_ASSIGN(const std::size_t bytes, run_bytes(model, config, device));
    return bytes <= room;
  };
  for (const char* more : {"selective", "full"}) {
    if (config.recompute == "full" || config.recompute == more) continue;
    config.recompute = more;
    flags = fmt::format("--recompute {}", more);
    TNL_ASSIGN(const bool good, fits());
    if (good) return flags;
  }
  constexpr std::int64_t kLeastChunk = 64;
  while (tokens_per_pass(config) / 2 >= kLeastChunk) {
    config.sequence_chunk = tokens_per_pass(config) / 2;
    TNL_ASSIGN(const bool good, fits());
    if (good) {
      return fmt::format("{}{}--sequence-chunk {}", flags, flags.empty() ? "" : " ",
                         config.sequence_chunk);
    }
  }
  return std::string();
}

}  // namespace

Status check_memory(const ModelConfig& model, const TrainConfig& config, const Device& device) {
  TNL_ASSIGN(const std::optional<MemoryUse> use, device.backend().memory_use());
  if (!use) return {};
  TNL_ASSIGN(const std::size_t bytes, run_bytes(model, config, device));
  if (bytes <= use->free) return {};
  TNL_ASSIGN(const std::string flags, what_fits(model, config, device, use->free));
  return unavailable(fmt::format(
      "out of memory on {}: the run takes {} (--dry-run says what for), {} are free; {}",
      device.properties().name, mebibytes(bytes), mebibytes(use->free),
      flags.empty() ? "only a smaller model, or another GPU, would fit" : "it fits with " + flags));
}

Status check_memory(const TrainConfig& config, const Device& device) {
  TNL_ASSIGN(const TrainData data, open_train_data(config));
  std::vector<std::string> notes;
  TNL_ASSIGN(const ModelConfig model, train_model_config(config, data, notes));
  return check_memory(model, config, device);
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
