#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "model/execution.h"
#include "tnl/tokenizer.h"
#include "train/schedule.h"
#include "train/tiny_run.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using test::take;
using test::TinyRun;

TokenBatch view(const DataBatch& batch) {
  return {
      .tokens = batch.tokens, .cu_seqlens = batch.cu_seqlens, .targets = batch.targets, .mask = {}};
}

// The loss and gradient of a step are those of the mean over all targets of its micro-batches,
// which have different numbers of targets.
TEST(Train, NormalisesByTheTargetsOfTheWholeStep) {
  TinyRun tiny;
  tiny.config.steps = 1;
  tiny.config.clip = 0;
  take(tiny.start("run"));
  const MetricsLine line = tiny.metrics("run").at(0);

  const fs::path shape = fs::path(tiny.config.config).parent_path();
  Model model = take(Model::create(take(read_model_config(shape)), tiny.device, tiny.config.seed));
  const Dataset dataset = take(Dataset::open(tiny.config.data));
  DataLoader loader = take(DataLoader::create(dataset, {.split = Dataset::Split::kTrain,
                                                        .sequence_length = 32,
                                                        .batch_tokens = 96,
                                                        .seed = tiny.config.seed,
                                                        .once = false}));
  DataBatch batches[2];
  std::int64_t targets[2] = {0, 0};
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(take(loader.next(batches[i])));
    for (const std::int32_t target : batches[i].targets) targets[i] += target >= 0 ? 1 : 0;
  }
  ASSERT_NE(targets[0], targets[1]);
  Execution execution =
      take(Execution::create(model, {.tokens = 96, .sequences = 96, .training = true}));
  Gradients gradients = take(Gradients::create(model));
  double nats = 0;
  std::vector<double> sum(gradients.flat().size());
  for (const DataBatch& batch : batches) {
    gradients.zero();
    nats += take(execution.loss_and_gradients(view(batch), 1.0, gradients)).sum;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradients.flat()[i];
  }
  const auto all = static_cast<double>(targets[0] + targets[1]);
  double squares = 0;
  for (const double g : sum) squares += g / all * g / all;
  EXPECT_NEAR(line.loss, nats / all, 1e-12 * line.loss);
  EXPECT_NEAR(line.gradient_norm, std::sqrt(squares), 1e-5 * line.gradient_norm);
}

TEST(Train, WritesARunThatCanBeUsed) {
  TinyRun tiny;
  std::vector<TrainProgress> seen;
  const TrainResult result = take(tiny.start("run", [&](const TrainProgress& p) {
    seen.push_back(p);
    return true;
  }));
  EXPECT_TRUE(result.finished);
  ASSERT_EQ(seen.size(), 7u);  // once before the first step
  for (std::int64_t step = 0; step <= 6; ++step) {
    EXPECT_EQ(seen[step].step, step);
    EXPECT_EQ(seen[step].steps, 6);
    EXPECT_EQ(seen[step].held_out_loss >= 0, step > 0 && step % 2 == 0) << step;
    if (step == 0) continue;
    EXPECT_EQ(seen[step].learning_rate, learning_rate_at(tiny.config, step));
    EXPECT_GT(seen[step].tokens_per_second, 0);
  }
  EXPECT_EQ(seen[0].loss, -1);
  EXPECT_EQ(seen[6].seconds_left, 0);
  EXPECT_EQ(result.held_out_loss, seen[6].held_out_loss);

  const fs::path run = tiny.run("run");
  EXPECT_TRUE(fs::exists(run / "checkpoints/step-00000003/state.json"));
  EXPECT_TRUE(fs::exists(run / "checkpoints/step-00000006/state.json"));
  const TrainConfig stored = take(read_train_config(run / "run.json"));
  EXPECT_EQ(train_config_json(stored), train_config_json(tiny.config));
  const Model model = take(Model::load(run / "model", tiny.device));
  EXPECT_EQ(model.config().vocab_size, tiny.vocab_size());
  EXPECT_EQ(take(load_tokenizer(run / "model"))->vocab_size(), tiny.vocab_size());
}

// Held-out loss and bits per byte, computed here document by document.
TEST(Train, EvaluatesTheHeldOutText) {
  TinyRun tiny;
  tiny.config.sequence_length = 96;  // no document is cut inside a batch's sequence limit
  tiny.config.batch_tokens = 4096;   // one batch holds all held-out documents
  tiny.config.accumulate = 1;
  tiny.config.steps = 1;
  tiny.config.eval_tokens = 0;
  const TrainResult result = take(tiny.start("run"));

  const Model model = take(Model::load(tiny.run("run") / "model", tiny.device));
  const Dataset dataset = take(Dataset::open(tiny.config.data));
  const auto tokenizer = take(load_tokenizer(dataset.tokenizer()));
  const auto split = Dataset::Split::kHeldOut;
  ASSERT_GT(dataset.documents(split), 5);
  Execution execution =
      take(Execution::create(model, {.tokens = 4096, .sequences = 1, .training = false}));
  double nats = 0;
  std::int64_t targets = 0, bytes = 0;
  for (std::int64_t i = 0; i < dataset.documents(split); ++i) {
    const std::vector<std::int32_t> ids = take(dataset.document(split, i));
    std::vector<std::int32_t> next(ids.begin() + 1, ids.end());
    next.push_back(-1);
    const std::vector<std::int64_t> cu_seqlens = {0, static_cast<std::int64_t>(ids.size())};
    std::vector<double> losses(ids.size());
    EXPECT_OK(execution.losses(
        {.tokens = ids, .cu_seqlens = cu_seqlens, .targets = next, .mask = {}}, nullptr, losses));
    for (const double loss : losses) nats += loss;
    targets += static_cast<std::int64_t>(ids.size()) - 1;
    bytes += static_cast<std::int64_t>(take(tokenizer->decode(std::span(ids).subspan(1))).size());
  }
  EXPECT_NEAR(result.held_out_loss, nats / static_cast<double>(targets), 1e-5);
  EXPECT_NEAR(result.held_out_bits_per_byte, nats / std::numbers::ln2 / static_cast<double>(bytes),
              1e-5);
}

TEST(Train, EvaluatesNoMoreThanItIsAsked) {
  TinyRun tiny;
  tiny.config.steps = 1;
  tiny.config.eval_tokens = 1;  // one batch
  const double one = take(tiny.start("one")).held_out_loss;
  tiny.config.eval_tokens = 0;
  const double all = take(tiny.start("all")).held_out_loss;
  EXPECT_NE(one, all);
  tiny.config.eval_tokens = 1 << 20;
  EXPECT_EQ(take(tiny.start("more")).held_out_loss, all);
}

TEST(Train, LearnsATinyLanguage) {
  TinyRun tiny;
  tiny.config.steps = 150;
  tiny.config.eval_every = 0;
  tiny.config.checkpoint_every = 0;
  tiny.config.warmup_steps = 10;
  const TrainResult result = take(tiny.start("run"));
  const auto metrics = tiny.metrics("run");
  EXPECT_GT(metrics.front().loss, 5.0);  // near ln 256
  // Drawn from six words of 3.5 bytes on average: ln 6 / 3.5 nats a byte, 0.6 with the ends.
  EXPECT_LT(metrics.back().loss, 0.9);
  EXPECT_LT(result.held_out_loss, 0.9);
  EXPECT_LT(result.held_out_bits_per_byte, 1.3);
}

TEST(Train, OverfitsOneSentence) {
  TinyRun tiny("a rose is a rose is a rose by any other name\n<>\n", 0);
  tiny.config.steps = 200;
  tiny.config.sequence_length = 96;
  tiny.config.checkpoint_every = 0;
  tiny.config.weight_decay = 0;
  std::vector<std::string> notes;
  const TrainResult result = take(tiny.start("run", [&](const TrainProgress& p) {
    notes.insert(notes.end(), p.notes.begin(), p.notes.end());
    return true;
  }));
  EXPECT_LT(tiny.metrics("run").back().loss, 0.15);
  EXPECT_EQ(result.held_out_loss, -1);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("no held-out text"), std::string::npos);
}

TEST(Train, FineTunesAModelFromItsDirectory) {
  TinyRun tiny;
  take(tiny.start("base"));
  tiny.config.config = "";
  tiny.config.init = (tiny.run("base") / "model").string();
  tiny.config.steps = 1;
  tiny.config.learning_rate = tiny.config.min_learning_rate = 0;
  tiny.config.warmup_steps = 0;
  take(tiny.start("tuned"));
  EXPECT_EQ(tiny.parameters("tuned"), tiny.parameters("base"));
}

TEST(Train, GivesAPresetTheVocabularyOfTheData) {
  TinyRun tiny;
  tiny.config.config = "";
  tiny.config.preset = "6m";
  std::string note;
  take(tiny.start("run", [&](const TrainProgress& p) {
    if (!p.notes.empty()) note = p.notes[0];
    return p.step < 1;
  }));
  EXPECT_NE(note.find("preset 6m: vocabulary " + std::to_string(tiny.vocab_size())),
            std::string::npos)
      << note;
  const ModelConfig stored = take(read_model_config(tiny.run("run") / "model"));
  EXPECT_EQ(stored.vocab_size, tiny.vocab_size());
  EXPECT_EQ(stored.slopes, SlopeSchedule::kReleased);
}

TEST(Train, TakesThePapersSlopes) {
  TinyRun tiny;
  tiny.config.paper_slopes = true;
  tiny.config.steps = 1;
  take(tiny.start("run"));
  EXPECT_EQ(take(read_model_config(tiny.run("run") / "model")).slopes, SlopeSchedule::kPaperLinear);
}

// A step that is not finite changes nothing and is written down; ten in a row are an error.
TEST(Train, SkipsStepsThatAreNotFiniteAndGivesUpAfterTen) {
  TinyRun tiny;
  take(tiny.start("base"));
  const fs::path base = tiny.run("base") / "model";
  Model model = take(Model::load(base, tiny.device));
  // Finite, but what it gives is not.
  const TensorView& embedding = model.parameters().front().view;
  std::fill_n(static_cast<float*>(embedding.data), embedding.elements(), 3e38f);
  EXPECT_OK(model.save(base));
  tiny.config.config = "";
  tiny.config.init = base.string();
  tiny.config.steps = 20;
  int skipped = 0;
  const auto result = tiny.start("run", [&](const TrainProgress& p) {
    skipped += p.skipped ? 1 : 0;
    return true;
  });
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("step 10:"), std::string::npos)
      << result.status().message();
  EXPECT_EQ(skipped, 9);  // the tenth is the error
  const auto metrics = tiny.metrics("run");
  ASSERT_EQ(metrics.size(), 10u);
  for (const MetricsLine& line : metrics) {
    EXPECT_TRUE(line.skipped);
    EXPECT_TRUE(std::isnan(line.loss));
  }
}

TEST(Train, RefusesWhatDoesNotFitAndLeavesNothing) {
  TinyRun tiny;
  const auto expect_refused = [&](const char* part) {
    const auto result = tiny.start("run");
    ASSERT_FALSE(result.ok()) << part;
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument) << result.status().message();
    EXPECT_NE(result.status().message().find(part), std::string::npos) << result.status().message();
    EXPECT_FALSE(fs::exists(tiny.run("run")));
  };
  const TrainConfig good = tiny.config;
  tiny.config.config = tiny.write_config("wrong", 99);
  expect_refused("found a vocabulary of 99, expected the");
  tiny.config.config = (tiny.directory.path() / "shape" / "config.yaml").string();
  expect_refused("expected a file config.json");
  tiny.config = good;
  tiny.config.config = "";
  tiny.config.preset = "9m";
  expect_refused("9m");
  tiny.config = good;
  tiny.config.steps = -1;
  expect_refused("steps:");
  tiny.config = good;
  tiny.device = take(Device::open("reference"));
  expect_refused("device: found reference");
}

TEST(Train, RefusesADirectoryThatIsNotEmpty) {
  TinyRun tiny;
  fs::create_directories(tiny.run("used"));
  std::ofstream(tiny.run("used") / "notes.txt") << "mine";
  const auto used = tiny.start("used");
  ASSERT_FALSE(used.ok());
  EXPECT_NE(used.status().message().find("expected a new or empty directory"), std::string::npos);
  take(tiny.start("run", [](const TrainProgress&) { return false; }));
  EXPECT_NE(tiny.start("run").status().message().find("can be resumed"), std::string::npos);
  fs::create_directories(tiny.run("empty"));
  tiny.config.steps = 1;
  EXPECT_TRUE(tiny.start("empty").ok());
}

TEST(Train, TheSeedDecides) {
  TinyRun tiny;
  tiny.config.steps = 2;
  take(tiny.start("one"));
  take(tiny.start("same"));
  tiny.config.seed = 2;
  take(tiny.start("other"));
  EXPECT_EQ(tiny.parameters("one"), tiny.parameters("same"));
  EXPECT_NE(tiny.parameters("one"), tiny.parameters("other"));
}

}  // namespace
}  // namespace tnl
