// One run in progress: the step, what is measured about it, and what is written down.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/execution.h"
#include "text/dataset.h"
#include "tnl/model.h"
#include "tnl/train.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/event_log.h"
#include "train/metrics.h"
#include "train/optimizer.h"
#include "train/pace.h"
#include "train/run_directory.h"
#include "train/setup.h"

namespace tnl {

using TrainCallback = std::function<bool(const TrainProgress&)>;

class Trainer {
 public:
  // Takes all memory of the run and writes nothing. The model is as before the first step, or the
  // checkpoint's, in f32.
  static Result<Trainer> create(const TrainConfig& config, const TrainData& data, Model master,
                                const std::filesystem::path& run);

  // From the checkpoint, or the first step without one, to the last step or until the callback says
  // false. The caller holds the run's lock. `notes` go out with the first callback.
  Result<TrainResult> run(const RunDirectory& run, const std::optional<FoundCheckpoint>& checkpoint,
                          std::vector<std::string> notes, const TrainCallback& callback);

 private:
  Trainer(const TrainConfig& config, const TrainData& data, Model master, Gradients gradients,
          Execution execution, Optimizer optimizer, DataLoader loader, Evaluator evaluator);

  Status restore(const FoundCheckpoint& checkpoint, std::vector<std::string>& notes);
  Status say_memory(std::vector<std::string>& notes);
  Status open_metrics(const RunDirectory& run, std::vector<std::string>& notes);
  // `go_on` gets the share of the step that is done; false is kInterrupted, and nothing was
  // changed.
  Result<MetricsLine> step(const std::function<bool(double)>& go_on);
  // Fills outlines_ for one step; the number of targets in them.
  Result<std::int64_t> outline_batches();
  std::int64_t tokens_of_step() const;
  Status update(MetricsLine& line, const std::function<bool(double)>& go_on);
  Status evaluate(MetricsLine& line);
  Status check_diverged(const MetricsLine& line) const;
  Status save(const RunDirectory& run);
  bool due(std::int64_t every) const;  // at this step; always at the last
  TrainProgress progress(const MetricsLine* line) const;
  TrainResult result() const;

  TrainConfig config_;
  TrainData data_;
  Model master_;  // f32: what the optimizer updates and checkpoints hold
  Gradients gradients_;
  Execution execution_;
  Optimizer optimizer_;
  DataLoader loader_;
  Evaluator evaluator_;
  std::optional<MetricsLog> metrics_;
  std::optional<EventLog> events_;
  CheckpointState state_;
  Pace pace_;
  std::vector<BatchOutline> outlines_;  // the micro-batches of a step
  DataBatch buffer_;                    // the tokens of a pass
  std::int64_t saved_step_ = -1;        // of the newest checkpoint
  bool memory_said_ = false;
  std::int64_t published_step_ = -1;  // of run/model, as far as this process wrote it
};

}  // namespace tnl
