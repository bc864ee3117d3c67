// Recomputes what an oracle file holds and compares. The file is a safetensors with
//   input_ids [B,T] i64; attention_mask [B,T] i64 (0 = padding); logits [B,T,V]; state.{layer}
//   [B,H,K,V] after the prompt; next_ids [B,N] i64, next_logits [B,N,V]: N single-token steps;
//   loss [1]: mean next-token cross entropy over targets whose own mask is 1; grad.{parameter}.
// All but input_ids may be absent.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tnl/model.h"
#include "tnl/status.h"

namespace tnl {

struct VerifyTolerances {
  double values = 2e-5;  // logits, next_logits, states, loss
  double gradients = 2e-4;
};

struct VerifiedTensor {
  std::string name;
  double error = 0;  // largest difference over the largest magnitude of the expected tensor
  double tolerance = 0;
  bool ok() const { return error <= tolerance; }  // false for NaN
};

// A tensor name or shape that does not belong to the model is an error, not a difference. `model`
// must hold f32 parameters (f64 on reference) where the file has gradients.
Result<std::vector<VerifiedTensor>> verify_against_oracle(const Model& model,
                                                          const std::filesystem::path& oracle,
                                                          const VerifyTolerances& tolerances = {});

}  // namespace tnl
