// Training: one call that runs, reports, evaluates, writes checkpoints and can be resumed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tnl/device.h"
#include "tnl/status.h"

namespace tnl {

// Everything that decides the result of a run; stored as run.json in its directory. Field names are
// the keys of the JSON file and, with dashes, the flags of `tnl train`.
struct TrainConfig {
  // What to train. config and init each take the preset's place and exclude each other. A preset
  // gets the vocabulary of the data; a config or init must have it already.
  std::string data;           // directory written by `tnl data pack`
  std::string preset = "6m";  // or
  std::string config;         // a config.json, or
  std::string init;           // a model directory to start from (fine-tuning)
  bool paper_slopes = false;  // new models: the paper's linear slopes in place of the released ones

  // How long and on how much.
  std::int64_t steps = 1000;
  std::int64_t batch_tokens = 4096;  // of one micro-batch
  std::int64_t sequence_length = 512;
  std::int64_t accumulate = 1;  // micro-batches a step

  // Sequences of any length. With whole_documents no document is cut into sequences,
  // sequence_length does not count, and a micro-batch takes documents until it has batch_tokens or
  // more. Memory depends on sequence_chunk, the tokens a pass: what is longer is run forward chunk
  // by chunk with only the states between them kept, then backward from the last chunk to the
  // first, each computed again. The gradient is that of one pass; sequences longer than a chunk
  // cost a third more.
  bool whole_documents = false;
  std::int64_t sequence_chunk = 0;  // 0: a whole micro-batch; with whole_documents: batch_tokens
  // What the backward half of a pass computes again in place of keeping it: "none", "selective"
  // (what is cheap) or "full" (every layer, from its input). The same bits, in less memory.
  std::string recompute = "none";
  std::int64_t state_memory = 64;  // MiB of states between chunks; the rest goes to a file

  // AdamW; no decay on the embedding table (nor a head tied to it) and on LRPE frequencies.
  double learning_rate = 3e-3;
  double min_learning_rate = -1;  // of the last step; -1: a tenth of learning_rate
  std::int64_t warmup_steps = 50;
  std::string schedule = "cosine";  // or "wsd"
  double wsd_decay = 0.2;           // share of the steps that cool down
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;  // of the global gradient norm; 0: off

  // Looking at it.
  std::int64_t eval_every = 200;        // steps; 0: only at the end
  std::int64_t eval_tokens = 65536;     // first of the held-out split, whole batches; 0: all
  std::int64_t checkpoint_every = 200;  // steps; 0: only at the end
  std::int64_t keep_checkpoints = 2;
  std::uint64_t seed = 1;
};

// A JSON object of some or all of the fields. A key that is no field is an error that names the
// nearest one.
Result<TrainConfig> read_train_config(const std::filesystem::path& path);
std::string train_config_json(const TrainConfig& config);
// Every field in its range and consistent with the others, or a sentence that names it.
Status validate(const TrainConfig& config);

// One piece of what a run keeps in the memory of its device.
struct MemoryItem {
  std::string name;
  std::size_t bytes = 0;
};
// What a run with these settings would take, workspaces and, on a GPU, the code of kernels with it.
// Takes and writes nothing.
Result<std::vector<MemoryItem>> train_memory(const TrainConfig& config, const Device& device);

struct TrainProgress {
  std::int64_t step = 0, steps = 0;  // done, of
  double step_share = 0;             // how much of the step in progress is done, 0 to 1
  double loss = -1;                  // nats a target, this step; -1 before the first
  bool skipped = false;              // loss or gradient not finite: no update was made
  double held_out_loss = -1;         // nats a target, where this step was evaluated, else -1
  double held_out_bits_per_byte = -1;
  double learning_rate = 0, gradient_norm = 0;
  double tokens_per_second = 0;  // smoothed
  double seconds_left = 0;
  std::vector<std::string> notes;  // sentences the user should see
};

struct TrainResult {
  std::int64_t step = 0;
  double held_out_loss = -1, held_out_bits_per_byte = -1;
  bool finished = false;  // false: stopped by the callback, a checkpoint written
};

// `run`: the directory of the run. It must be new or empty for train_start; train_resume continues
// from its last whole checkpoint, bit for bit as if it had never stopped (with the same device and
// number of threads). The callback comes once before the first step, then after every step, and
// within a step after every pass of a micro-batch that takes several (step_share); false stops at
// once with a checkpoint of the last whole step. With every checkpoint and when a run ends,
// run/model is a model directory with its tokenizer.
//
// The loss of a step is the mean over all targets of its micro-batches together, and its gradient
// is that of this mean. A step whose loss or gradient is not finite changes no parameter and no
// moment; ten of them in a row are an error.
Result<TrainResult> train_start(const TrainConfig& config, const std::filesystem::path& run,
                                const Device& device,
                                const std::function<bool(const TrainProgress&)>& progress);
Result<TrainResult> train_resume(const std::filesystem::path& run, const Device& device,
                                 const std::function<bool(const TrainProgress&)>& progress);

}  // namespace tnl
