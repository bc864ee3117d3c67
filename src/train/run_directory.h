// The directory of a run, and directories that appear whole or not at all.
//
//   run.json                     the TrainConfig
//   metrics.jsonl                one line a step
//   events.out.tfevents.*        the same for TensorBoard, a file for each session
//   checkpoints/step-00000200/   config.json, model.safetensors, optimizer.safetensors, state.json
//   model/                       the newest parameters as a model directory with its tokenizer
//   lock                         held by the process that trains
#pragma once

#include <filesystem>

#include "tnl/status.h"

namespace tnl {

struct RunDirectory {
  std::filesystem::path root;

  std::filesystem::path config() const { return root / "run.json"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path model() const { return root / "model"; }
};

// While it lives no other process trains in the run; the system lets go of it when this one dies.
class RunLock {
 public:
  static Result<RunLock> take(const RunDirectory& run);
  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&&) = delete;
  ~RunLock();

 private:
  explicit RunLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

// A directory that is filled under a temporary name beside its place. publish() syncs its files,
// moves it to its place in one step (what was there before goes away) and syncs the parent.
// Destroyed without it, nothing is left.
class StagedDirectory {
 public:
  static Result<StagedDirectory> create(const std::filesystem::path& place);
  StagedDirectory(StagedDirectory&& other) noexcept;
  StagedDirectory& operator=(StagedDirectory&&) = delete;
  ~StagedDirectory();

  const std::filesystem::path& path() const { return path_; }
  Status publish();

 private:
  StagedDirectory(std::filesystem::path place, std::filesystem::path path)
      : place_(std::move(place)), path_(std::move(path)) {}
  std::filesystem::path place_, path_;
};

// Removes a directory so that no half of it is ever seen under its name.
Status remove_directory(const std::filesystem::path& directory);

// True where there is nothing, or nothing but what a process left that was killed before it wrote
// run.json.
bool is_unused(const RunDirectory& run);

// Removes what a killed process left under temporary names. Needs the lock.
void remove_leftovers(const RunDirectory& run);

}  // namespace tnl
