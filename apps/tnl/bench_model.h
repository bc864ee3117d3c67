// The measurements behind `tnl bench train` and `tnl bench inference`: whole models with random
// parameters on random tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tnl/cli.h"
#include "tnl/model.h"

namespace tnl::command {

struct ModelShape {
  std::string preset = "6m";
  bool untied = false, no_lrpe = false;

  void add(CLI::App& command);
  ModelConfig config() const;  // throws Exit
};

// Numbers as a new model's, but the same million of them over and over: a model of any size is made
// in no time. Throws Exit.
Model random_model(const ModelConfig& config, const Device& device, DType dtype);

struct TrainBenchOptions {
  ModelShape shape;
  std::vector<std::int64_t> lengths = {512};
  std::int64_t tokens = 4096;       // of a step
  std::int64_t sequence_chunk = 0;  // tokens of a pass; 0: a step
  std::int64_t state_memory = 64;   // MiB
  int repeat = 5, warm_up = 1;
  std::string recompute = "none";
  bool no_replay = false;
  bool json = false;
  DeviceFlags device;
};

struct InferenceBenchOptions {
  ModelShape shape = {.preset = "385m"};
  std::string dtype = "bf16";
  std::int64_t prompt = 4096;
  std::int64_t prefill_chunk = 0;
  std::vector<std::int64_t> batches = {1};
  int decode = 32;  // tokens
  int repeat = 1;   // prompts
  bool json = false;
  DeviceFlags device;
};

void bench_train(const TrainBenchOptions& options);          // throws Exit
void bench_inference(const InferenceBenchOptions& options);  // throws Exit

}  // namespace tnl::command
