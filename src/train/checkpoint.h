// Checkpoints of a run: everything a resumed run needs to go on bit for bit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tnl/model.h"
#include "tnl/status.h"
#include "tnl/train.h"
#include "train/optimizer.h"
#include "train/run_directory.h"

namespace tnl {

class Backend;

// state.json; beside these it holds size and CRC-32 of every other file.
struct CheckpointState {
  std::int64_t step = 0;              // done
  std::int64_t updates = 0;           // of the optimizer; skipped steps do not count
  std::int64_t skipped = 0;           // steps whose loss or gradient was not finite
  std::int64_t skipped_in_a_row = 0;  // the newest of them
  double seconds = 0;                 // of training
  double held_out_loss = -1;          // of the last evaluation; -1: none
  double held_out_bits_per_byte = -1;
  std::string loader;               // DataLoader::position() behind the last step
  std::string dataset_fingerprint;  // Dataset::fingerprint()
  std::string device;               // describe_device() of what computed it
  std::string config_fingerprint;   // config_fingerprint() of the run's TrainConfig
};

struct FoundCheckpoint {
  std::filesystem::path directory;  // a model directory without tokenizer
  CheckpointState state;
};

// Of the settings that decide the numbers.
std::string config_fingerprint(const TrainConfig& config);
// "cpu avx2, 8 threads", "NVIDIA H100, bf16": where all of it is the same, so is every bit.
std::string describe_device(const DeviceProperties& properties);

// Writes checkpoints/step-N of the f32 parameters and removes the oldest beyond `keep`.
Status write_checkpoint(const RunDirectory& run, const CheckpointState& state, const Model& model,
                        Optimizer& optimizer, std::int64_t keep);

// The newest checkpoint whose files are all there with the right size and CRC; none where the run
// has no checkpoint at all, an error where none of them is whole. `notes` gets a sentence for each
// that was passed over.
Result<std::optional<FoundCheckpoint>> find_checkpoint(const RunDirectory& run,
                                                       std::vector<std::string>& notes);

// What the device had chosen for itself (Backend::choices) when the checkpoint was written; it goes
// on with that. "" or what it could not take over, as Backend::adopt_choices says.
Result<std::string> adopt_choices(const FoundCheckpoint& checkpoint, Backend& backend);

// The optimizer's moments and count of updates.
Status read_optimizer(const FoundCheckpoint& checkpoint, Optimizer& optimizer);

}  // namespace tnl
