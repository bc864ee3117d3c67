// What a training run takes of its device's memory, piece by piece, before it takes any.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/execution.h"
#include "tnl/train.h"

namespace tnl {

// Of a model of `config` trained through an execution of these limits, on batches of sequences of
// these lengths.
Result<std::vector<MemoryItem>> plan_memory(const ModelConfig& config, const Device& device,
                                            const Execution::Limits& limits,
                                            std::span<const std::int64_t> lengths);

// kUnavailable where a run with these settings does not fit into what the device has free, with
// what would make it fit.
Status check_memory(const ModelConfig& model, const TrainConfig& config, const Device& device);
Status check_memory(const TrainConfig& config, const Device& device);  // of a new run

std::size_t bytes_of(const std::vector<MemoryItem>& items);

}  // namespace tnl
