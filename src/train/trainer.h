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
#include "train/metrics.h"
#include "train/optimizer.h"
#include "train/pace.h"
#include "train/run_directory.h"
#include "train/setup.h"

namespace tnl {

using TrainCallback = std::function<bool(const TrainProgress&)>;

class Trainer {
 public:
  // At the checkpoint, or before the first step without one. The caller holds the run's lock.
  // `notes` go out with the first callback.
  static Result<Trainer> create(const TrainConfig& config, const RunDirectory& run,
                                const TrainData& data, Model model,
                                const std::optional<FoundCheckpoint>& checkpoint,
                                std::vector<std::string> notes);

  // To the last step, or until the callback says false.
  Result<TrainResult> run(const TrainCallback& callback);

 private:
  Trainer(const TrainConfig& config, const RunDirectory& run, const TrainData& data, Model model,
          Gradients gradients, Execution execution, Optimizer optimizer, DataLoader loader,
          Evaluator evaluator, MetricsLog metrics);

  Status restore(const FoundCheckpoint& checkpoint);
  Result<MetricsLine> step();
  // Fills batches_ for one step; the number of targets in them.
  Result<std::int64_t> load_batches();
  Status update(MetricsLine& line);
  Status evaluate(MetricsLine& line);
  Status check_diverged(const MetricsLine& line) const;
  Status save();
  bool due(std::int64_t every) const;  // at this step; always at the last
  TrainProgress progress(const MetricsLine* line) const;
  TrainResult result() const;

  TrainConfig config_;
  RunDirectory run_;
  TrainData data_;
  Model model_;
  Gradients gradients_;
  Execution execution_;
  Optimizer optimizer_;
  DataLoader loader_;
  Evaluator evaluator_;
  MetricsLog metrics_;
  CheckpointState state_;
  Pace pace_;
  std::vector<DataBatch> batches_;  // the micro-batches of a step
  std::vector<std::string> notes_;
  std::int64_t saved_step_ = -1;
};

}  // namespace tnl
