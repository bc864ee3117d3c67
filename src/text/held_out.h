// Which texts are held out of training.
#pragma once

#include <cstdint>
#include <vector>

#include "text/dataset.h"
#include "text/inputs.h"

namespace tnl {

// How a packing divides its text: by document (block_bytes 0) or by block.
struct HeldOutPlan {
  double share = 0;
  std::uint64_t seed = 0;
  std::size_t block_bytes = 0;

  // The split of document or block `number`, counted from 0.
  Dataset::Split split(std::int64_t number) const;
};

// Reads as much of the inputs as it takes to settle PackOptions::held_out_by.
Result<HeldOutPlan> plan_held_out(const PackOptions& options, const std::vector<InputFile>& files);

}  // namespace tnl
