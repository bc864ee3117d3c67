// The measurements behind `tnl bench train` and `tnl bench inference`: whole models with random
// parameters on random tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tnl/cli.h"

namespace tnl::command {

struct TrainBenchOptions {
  std::string preset = "6m";
  std::vector<std::int64_t> lengths = {512};
  std::int64_t tokens = 4096;       // of a step
  std::int64_t sequence_chunk = 0;  // tokens of a pass; 0: a step
  std::int64_t state_memory = 64;   // MiB
  int repeat = 5, warm_up = 1;
  std::string recompute = "none";
  bool untied = false, no_lrpe = false, json = false;
  DeviceFlags device;
};

struct InferenceBenchOptions {
  std::string preset = "385m";
  std::string dtype = "bf16";
  std::int64_t prompt = 4096;
  std::int64_t prefill_chunk = 512;
  int decode = 32;  // tokens
  int repeat = 1;   // prompts
  bool json = false;
  DeviceFlags device;
};

void bench_train(const TrainBenchOptions& options);          // throws Exit
void bench_inference(const InferenceBenchOptions& options);  // throws Exit

}  // namespace tnl::command
