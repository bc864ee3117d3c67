// Training: one call that runs, reports, evaluates, writes checkpoints and can be resumed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "tnl/device.h"
#include "tnl/status.h"

namespace tnl {

// Everything that decides the result of a run; stored as run.json in its directory. Field names are
// the keys of the JSON file and, with dashes, the flags of `tnl train`.
struct TrainConfig {
  // What to train.
  std::string data;           // directory written by `tnl data pack`
  std::string preset = "6m";  // or
  std::string config;         // a config.json, or
  std::string init;           // a model directory to start from (fine-tuning)
  bool paper_slopes = false;  // the paper's linear slope schedule in place of the released one

  // How long and on how much.
  std::int64_t steps = 1000;
  std::int64_t batch_tokens = 4096;  // of one micro-batch
  std::int64_t sequence_length = 512;
  std::int64_t accumulate = 1;  // micro-batches a step

  // AdamW; no decay on embeddings and on LRPE frequencies.
  double learning_rate = 3e-3;
  double min_learning_rate = 3e-4;
  std::int64_t warmup_steps = 50;
  std::string schedule = "cosine";  // or "wsd"
  double wsd_decay = 0.2;           // share of the steps that cool down
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;  // of the global gradient norm; 0: off

  // Looking at it.
  std::int64_t eval_every = 200;        // steps; 0: only at the end
  std::int64_t eval_tokens = 65536;     // of the held-out split; 0: all
  std::int64_t checkpoint_every = 200;  // steps; 0: only at the end
  std::int64_t keep_checkpoints = 2;
  std::uint64_t seed = 1;
};

Result<TrainConfig> read_train_config(const std::filesystem::path& path);
std::string train_config_json(const TrainConfig& config);
Status validate(const TrainConfig& config);

struct TrainProgress {
  std::int64_t step = 0, steps = 0;  // done, of
  double loss = 0;                   // nats a token, this step
  double held_out_loss = -1;         // nats a token, where this step was evaluated, else -1
  double held_out_bits_per_byte = -1;
  double learning_rate = 0, gradient_norm = 0;
  double tokens_per_second = 0;  // smoothed
  double seconds_left = 0;
};

struct TrainResult {
  std::int64_t step = 0;
  double held_out_loss = -1, held_out_bits_per_byte = -1;
  bool finished = false;  // false: stopped by the callback, a checkpoint written
};

// `run`: the directory of the run. It must be new or empty for train_start; train_resume continues
// from its last whole checkpoint, bit for bit as if it had never stopped. The callback comes after
// every step; false stops at once with a checkpoint. When a run ends, run/model is a model
// directory with its tokenizer.
Result<TrainResult> train_start(const TrainConfig& config, const std::filesystem::path& run,
                                const Device& device,
                                const std::function<bool(const TrainProgress&)>& progress);
Result<TrainResult> train_resume(const std::filesystem::path& run, const Device& device,
                                 const std::function<bool(const TrainProgress&)>& progress);

}  // namespace tnl
