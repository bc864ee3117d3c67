// The measurement behind `tnl bench attention`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tnl/attention.h"
#include "tnl/cli.h"

namespace tnl::command {

struct AttentionBenchOptions {
  std::vector<std::string> shapes = {"2x2048x8x64", "1x2048x8x128"};
  std::string slopes = "half";
  std::string varlen;  // empty: a batch; "drawn" or a list of lengths: packed
  std::string pass = "both";
  std::string dtype;  // empty: bf16 on a GPU, else f32
  bool reverse = false;
  AttentionPlanOptions plan = {};
  int repeat = 10;
  bool json = false;
  DeviceFlags device;

  // On a GPU.
  bool states = false;  // initial and final states, and their gradients
  bool graph = false;   // replayed from a recorded graph
  bool errors = true;   // held against fp64
};

// Both throw Exit.
void bench_attention(AttentionBenchOptions options);
void bench_attention_gpu(const AttentionBenchOptions& options, const Device& device);

}  // namespace tnl::command
