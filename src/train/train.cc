// train_start and train_resume: the run's directory, then a Trainer.
#include <fmt/format.h>

#include "core/file.h"
#include "core/try.h"
#include "train/memory.h"
#include "train/run_directory.h"
#include "train/trainer.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

// A run may be resumed from another working directory.
void make_absolute(std::string& path) {
  if (!path.empty()) path = fs::absolute(path).lexically_normal().string();
}

Status check_new(const fs::path& run) {
  std::error_code error;
  if (!fs::exists(run, error)) return {};
  if (!fs::is_directory(run, error)) {
    return invalid_argument(
        fmt::format("run {}: found a file, expected a new or empty directory", run.string()));
  }
  if (is_unused(RunDirectory{run})) return {};
  const bool is_run = fs::exists(RunDirectory{run}.config(), error);
  return invalid_argument(fmt::format("run {}: found {}, expected a new or empty directory",
                                      run.string(),
                                      is_run ? "a run, which can be resumed" : "files in it"));
}

}  // namespace

Result<TrainResult> train_start(const TrainConfig& given, const fs::path& run_path,
                                const Device& device, const TrainCallback& callback) {
  TrainConfig config = given;
  for (std::string* path : {&config.data, &config.config, &config.init}) make_absolute(*path);
  TNL_TRY(validate(config));
  TNL_TRY(check_train_device(device));
  TNL_TRY(check_new(run_path));
  TNL_ASSIGN(const TrainData data, open_train_data(config));
  std::vector<std::string> notes;
  TNL_ASSIGN(const ModelConfig shape, train_model_config(config, data, notes));
  TNL_TRY(check_memory(shape, config, device));
  notes.clear();  // they come again
  TNL_ASSIGN(Model model, make_train_model(config, data, device, notes));
  TNL_ASSIGN(Trainer trainer, Trainer::create(config, data, std::move(model), run_path));

  const RunDirectory run{run_path};
  TNL_TRY(make_directories(run.root));
  TNL_ASSIGN(const RunLock lock, RunLock::take(run));
  TNL_TRY(check_new(run_path));  // nobody was faster
  remove_leftovers(run);
  TNL_TRY(write_file(run.config(), train_config_json(config)));
  return trainer.run(run, std::nullopt, std::move(notes), callback);
}

Result<TrainResult> train_resume(const fs::path& run_path, const Device& device,
                                 const TrainCallback& callback) {
  const RunDirectory run{run_path};
  TNL_ASSIGN(const TrainConfig config, read_train_config(run.config()));
  TNL_TRY(validate(config));
  TNL_TRY(check_train_device(device));
  TNL_ASSIGN(const RunLock lock, RunLock::take(run));
  remove_leftovers(run);
  std::vector<std::string> notes;
  TNL_ASSIGN(const std::optional<FoundCheckpoint> checkpoint, find_checkpoint(run, notes));
  TNL_ASSIGN(const TrainData data, open_train_data(config));
  std::vector<std::string> once;  // make_train_model says them too
  Result<ModelConfig> shape = checkpoint ? read_model_config(checkpoint->directory)
                                         : train_model_config(config, data, once);
  TNL_TRY(shape.status());
  TNL_TRY(check_memory(*shape, config, device));
  Result<Model> made = checkpoint
                           ? Model::load(checkpoint->directory, device, {.dtype = DType::kF32})
                           : make_train_model(config, data, device, notes);
  TNL_ASSIGN(Model model, std::move(made));
  if (!checkpoint) notes.push_back("the run has no checkpoint yet: it starts at step 0");
  TNL_ASSIGN(Trainer trainer, Trainer::create(config, data, std::move(model), run_path));
  return trainer.run(run, checkpoint, std::move(notes), callback);
}

}  // namespace tnl
