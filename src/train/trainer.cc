#include "train/trainer.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "backend/backend.h"
#include "core/try.h"
#include "model/model_impl.h"
#include "train/memory.h"
#include "train/schedule.h"

namespace tnl {
namespace {

constexpr std::int64_t kMostSkippedInARow = 10;
constexpr double kNotFinite = std::numeric_limits<double>::quiet_NaN();

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

Optimizer::Options optimizer_options(const TrainConfig& config) {
  return {.beta1 = config.beta1,
          .beta2 = config.beta2,
          .epsilon = config.epsilon,
          .weight_decay = config.weight_decay,
          .clip = config.clip};
}

}  // namespace

Trainer::Trainer(const TrainConfig& config, const TrainData& data, Model master,
                 Gradients gradients, Execution execution, Optimizer optimizer, DataLoader loader,
                 Evaluator evaluator)
    : config_(config),
      data_(data),
      master_(std::move(master)),
      gradients_(std::move(gradients)),
      execution_(std::move(execution)),
      optimizer_(std::move(optimizer)),
      loader_(std::move(loader)),
      evaluator_(std::move(evaluator)),
      outlines_(static_cast<std::size_t>(config.accumulate)) {
  state_.dataset_fingerprint = data_.dataset.fingerprint();
  state_.config_fingerprint = config_fingerprint(config_);
  state_.device = describe_device(master_.device().properties());
}

Result<Trainer> Trainer::create(const TrainConfig& config, const TrainData& data, Model master,
                                const std::filesystem::path& run) {
  // The passes read the parameters as they store activations; on the CPU that is the master itself.
  TNL_ASSIGN(const Model model, convert_model(master, master.device().backend().compute_dtype()));
  TNL_ASSIGN(Gradients gradients, Gradients::create(model));
  TNL_ASSIGN(Execution execution, Execution::create(model, execution_limits(config, run)));
  TNL_ASSIGN(Optimizer optimizer,
             Optimizer::create(model.device(), optimizer_tensors(master, model, gradients),
                               optimizer_options(config)));
  TNL_ASSIGN(DataLoader loader,
             DataLoader::create(data.dataset, loader_options(config, Dataset::Split::kTrain)));
  TNL_ASSIGN(Evaluator evaluator, Evaluator::create(data.dataset, *data.tokenizer, config));
  return Trainer(config, data, std::move(master), std::move(gradients), std::move(execution),
                 std::move(optimizer), std::move(loader), std::move(evaluator));
}

Status Trainer::restore(const FoundCheckpoint& checkpoint, std::vector<std::string>& notes) {
  CheckpointState now = checkpoint.state;
  std::swap(state_, now);  // `now` becomes what create() found
  saved_step_ = state_.step;
  if (state_.dataset_fingerprint != now.dataset_fingerprint) {
    return invalid_argument(fmt::format(
        "{}: found other content than the run began with, expected the same data", config_.data));
  }
  TNL_TRY(loader_.seek(state_.loader));
  TNL_TRY(read_optimizer(checkpoint, optimizer_));
  if (state_.config_fingerprint != now.config_fingerprint) {
    notes.push_back(
        "run.json was changed since the checkpoint: the run goes on with the new settings");
  }
  if (state_.device != now.device) {
    notes.push_back(
        fmt::format("the checkpoint was computed on {}, this is {}: the run goes on, "
                    "but not bit for bit",
                    state_.device, now.device));
  } else {
    TNL_ASSIGN(const std::string other, adopt_choices(checkpoint, master_.device().backend()));
    if (!other.empty()) {
      notes.push_back(fmt::format(
          "the checkpoint was computed with {}: the run goes on, but not bit for bit", other));
    }
  }
  state_.config_fingerprint = now.config_fingerprint;
  state_.device = now.device;
  notes.push_back(fmt::format("resumed at step {}", state_.step));
  return {};
}

// After the first step, when all is taken that ever will be, but for the graphs of passes.
Status Trainer::say_memory(std::vector<std::string>& notes) {
  memory_said_ = true;
  const Device device = master_.device();
  TNL_ASSIGN(const std::optional<MemoryUse> use, device.backend().memory_use());
  if (!use) return {};
  TNL_ASSIGN(const auto planned,
             plan_memory(master_.config(), device, execution_limits(config_, "."),
                         sequence_lengths(config_)));
  const auto mebibytes = [](std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  notes.push_back(fmt::format("memory of {}: {:.0f} MiB planned, {:.0f} MiB in use",
                              device.properties().name, mebibytes(bytes_of(planned)),
                              mebibytes(use->taken)));
  return {};
}

Status Trainer::open_metrics(const RunDirectory& run, std::vector<std::string>& notes) {
  TNL_ASSIGN(MetricsLog metrics, MetricsLog::open(run.metrics(), state_.step));
  if (metrics.last_step() < state_.step) {
    notes.push_back(fmt::format("{} ended at step {}: the steps up to {} are missing in it",
                                run.metrics().string(), metrics.last_step(), state_.step));
  }
  metrics_.emplace(std::move(metrics));
  TNL_ASSIGN(EventLog events, EventLog::open(run.root, state_.step));
  events_.emplace(std::move(events));
  return {};
}

Result<std::int64_t> Trainer::outline_batches() {
  std::int64_t targets = 0;
  for (BatchOutline& outline : outlines_) {
    TNL_ASSIGN(const bool more, loader_.next(outline));
    if (!more) return internal_error("the training data came to an end");
    targets += outline.targets;
  }
  if (targets > 0) return targets;
  return invalid_argument(fmt::format(
      "{}: found a step without a single token to predict, expected longer documents than one "
      "token",
      config_.data));
}

// The targets of all micro-batches are counted before the first of them runs, so every gradient is
// added with its final weight.
Status Trainer::update(MetricsLine& line, const std::function<bool(double)>& go_on) {
  TNL_ASSIGN(const std::int64_t targets, outline_batches());
  gradients_.zero();
  double nats = 0, done = 0;
  const auto step_tokens = static_cast<double>(tokens_of_step());
  for (const BatchOutline& outline : outlines_) {
    const auto tokens = static_cast<double>(outline.tokens());
    const auto progress = [&](double share) {  // of a micro-batch in several passes
      return share >= 1 || go_on((done + share * tokens) / step_tokens);
    };
    TNL_ASSIGN(const LossSum loss, execution_.loss_and_gradients(
                                       read_long_batch(loader_, outline, buffer_),
                                       1.0 / static_cast<double>(targets), gradients_, progress));
    nats += loss.sum;
    done += tokens;
  }
  line.loss = nats / static_cast<double>(targets);
  line.gradient_norm = kNotFinite;
  line.skipped = true;
  if (std::isfinite(line.loss)) {
    const Optimizer::Outcome outcome = optimizer_.step(line.learning_rate);
    line.gradient_norm = outcome.gradient_norm;
    line.skipped = !outcome.applied;
  }
  // Where the device has failed, its error is the reason.
  if (line.skipped) TNL_TRY(master_.device().synchronize());
  state_.skipped += line.skipped ? 1 : 0;
  state_.skipped_in_a_row = line.skipped ? state_.skipped_in_a_row + 1 : 0;
  return {};
}

std::int64_t Trainer::tokens_of_step() const {
  std::int64_t tokens = 0;
  for (const BatchOutline& outline : outlines_) tokens += outline.tokens();
  return tokens;
}

Result<MetricsLine> Trainer::step(const std::function<bool(double)>& go_on) {
  const Stopwatch clock;
  MetricsLine line;
  line.step = state_.step + 1;
  line.learning_rate = learning_rate_at(config_, line.step);
  TNL_TRY(update(line, go_on));
  state_.step = line.step;
  state_.updates = optimizer_.updates();
  state_.loader = loader_.position();
  line.tokens = tokens_of_step();
  const auto tokens = static_cast<double>(line.tokens);
  const double seconds = clock.seconds();
  pace_.step(seconds, tokens);
  line.tokens_per_second = tokens / seconds;
  if (due(config_.eval_every)) TNL_TRY(evaluate(line));
  state_.seconds += clock.seconds();
  line.seconds = state_.seconds;
  return line;
}

Status Trainer::evaluate(MetricsLine& line) {
  if (!evaluator_.possible()) return {};
  const Stopwatch clock;
  TNL_ASSIGN(const HeldOut held_out, evaluator_.run(execution_));
  pace_.evaluation(clock.seconds());
  line.held_out_loss = state_.held_out_loss = held_out.loss;
  line.held_out_bits_per_byte = state_.held_out_bits_per_byte = held_out.bits_per_byte;
  return {};
}

Status Trainer::check_diverged(const MetricsLine& line) const {
  if (state_.skipped_in_a_row < kMostSkippedInARow) return {};
  return invalid_argument(fmt::format(
      "step {}: found a loss ({}) or gradient norm ({}) that is not finite for the {}th "
      "time in a row, expected finite ones; try a lower learning_rate (now {})",
      line.step, line.loss, line.gradient_norm, kMostSkippedInARow, config_.learning_rate));
}

// First what a resumed run needs, then what can be made again from it.
Status Trainer::save(const RunDirectory& run) {
  const Stopwatch clock;
  TNL_TRY(metrics_->sync());
  TNL_TRY(events_->sync());
  if (saved_step_ != state_.step) {
    TNL_TRY(write_checkpoint(run, state_, master_, optimizer_, config_.keep_checkpoints));
    saved_step_ = state_.step;
  }
  TNL_ASSIGN(StagedDirectory staged, StagedDirectory::create(run.model()));
  TNL_TRY(master_.save(staged.path()));
  TNL_TRY(data_.tokenizer->save(staged.path()));
  TNL_TRY(staged.publish());
  published_step_ = state_.step;
  pace_.checkpoint(clock.seconds());
  return {};
}

bool Trainer::due(std::int64_t every) const {
  return state_.step == config_.steps || (every > 0 && state_.step % every == 0);
}

TrainProgress Trainer::progress(const MetricsLine* line) const {
  TrainProgress progress;
  progress.step = state_.step;
  progress.steps = config_.steps;
  progress.tokens_per_second = pace_.tokens_per_second();
  progress.seconds_left = pace_.seconds_left(config_, state_.step);
  if (line == nullptr) return progress;
  progress.loss = line->loss;
  progress.skipped = line->skipped;
  progress.held_out_loss = line->held_out_loss;
  progress.held_out_bits_per_byte = line->held_out_bits_per_byte;
  progress.learning_rate = line->learning_rate;
  progress.gradient_norm = line->gradient_norm;
  return progress;
}

TrainResult Trainer::result() const {
  return {.step = state_.step,
          .held_out_loss = state_.held_out_loss,
          .held_out_bits_per_byte = state_.held_out_bits_per_byte,
          .finished = state_.step >= config_.steps};
}

Result<TrainResult> Trainer::run(const RunDirectory& run,
                                 const std::optional<FoundCheckpoint>& checkpoint,
                                 std::vector<std::string> notes, const TrainCallback& callback) {
  if (checkpoint) TNL_TRY(restore(*checkpoint, notes));
  TNL_TRY(open_metrics(run, notes));
  if (!evaluator_.possible()) {
    notes.push_back(fmt::format("{} has no held-out text: no evaluation", config_.data));
  }
  TrainProgress first = progress(nullptr);
  first.notes = std::move(notes);
  bool go_on = !callback || callback(first);
  TrainProgress within = progress(nullptr);
  const auto within_step = [&](double share) {
    within.step_share = share;
    return !callback || callback(within);
  };
  while (go_on && state_.step < config_.steps) {
    const Result<MetricsLine> made = step(within_step);
    if (made.status().code() == StatusCode::kInterrupted) break;  // the step was not finished
    TNL_ASSIGN(const MetricsLine line, made);
    TNL_TRY(metrics_->append(line));
    TNL_TRY(events_->append(line));
    TNL_TRY(check_diverged(line));
    if (due(config_.checkpoint_every)) TNL_TRY(save(run));
    within = progress(&line);
    if (!memory_said_) TNL_TRY(say_memory(within.notes));
    go_on = !callback || callback(within);
    within.skipped = false;  // said once
    within.notes.clear();
    within.held_out_loss = within.held_out_bits_per_byte = -1;
  }
  if (state_.step > 0 && published_step_ != state_.step) TNL_TRY(save(run));
  return result();
}

}  // namespace tnl
