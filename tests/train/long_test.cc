// Training on sequences longer than a pass, and on whole documents.
#include <gtest/gtest.h>

#include <cmath>

#include "train/tiny_run.h"

namespace tnl {
namespace {

using test::expect_same_metrics;
using test::take;
using test::TinyRun;

// Documents from a word to several hundred tokens.
std::string long_text() {
  std::string text;
  for (int i = 0; i < 12; ++i) {
    std::string document = test::tiny_text(3 + 9 * (i % 4), 50 + static_cast<std::uint64_t>(i));
    for (std::size_t at; (at = document.find("\n<>\n")) != std::string::npos;)
      document.replace(at, 4, "\n");
    text += document + "\n<>\n";
  }
  return text;
}

TEST(LongTraining, InChunksIsTrainingInOnePass) {
  TinyRun tiny(long_text());
  tiny.config.batch_tokens = tiny.config.sequence_length = 500;
  take(tiny.start("whole"));
  for (const std::int64_t chunk : {37, 200}) {
    tiny.config.sequence_chunk = chunk;
    const std::string name = "chunk" + std::to_string(chunk);
    take(tiny.start(name.c_str()));
    const auto whole = tiny.metrics("whole"), pieces = tiny.metrics(name.c_str());
    ASSERT_EQ(whole.size(), pieces.size());
    for (std::size_t i = 0; i < whole.size(); ++i) {
      EXPECT_NEAR(pieces[i].loss, whole[i].loss, 1e-4 * whole[i].loss) << i;
      EXPECT_NEAR(pieces[i].gradient_norm, whole[i].gradient_norm, 1e-3 * whole[i].gradient_norm);
      EXPECT_NEAR(pieces[i].held_out_loss, whole[i].held_out_loss,
                  1e-4 * std::abs(whole[i].held_out_loss));
    }
  }
}

// Stopped between steps, and inside of one: nothing of an unfinished step counts.
TEST(LongTraining, ResumesBitForBit) {
  TinyRun tiny(long_text());
  tiny.config.whole_documents = true;
  tiny.config.batch_tokens = 300;
  tiny.config.sequence_chunk = 50;
  tiny.config.state_memory = 0;  // all states through a file
  std::int64_t inside = 0;
  take(tiny.start("whole", [&](const TrainProgress& p) {
    EXPECT_LT(p.step_share, 1);
    inside += p.step_share > 0 ? 1 : 0;
    return true;
  }));
  EXPECT_GT(inside, 6 * 2 * 300 / 50);
  const TrainResult stopped = take(tiny.start(
      "parts", [](const TrainProgress& p) { return !(p.step == 2 && p.step_share > 0.4); }));
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.step, 2);
  for (const std::int64_t stop : {3, 4, 6}) {
    take(tiny.resume("parts", [&](const TrainProgress& p) {
      return p.step < stop || (stop == 4 && p.step == 4 && p.step_share == 0);
    }));
  }
  EXPECT_EQ(tiny.parameters("parts"), tiny.parameters("whole"));
  expect_same_metrics(tiny.metrics("whole"), tiny.metrics("parts"));
  for (const auto& entry : std::filesystem::directory_iterator(tiny.run("parts"))) {
    EXPECT_EQ(entry.path().string().find("tnl-states"), std::string::npos);
  }
}

// A whole document is one sequence: its tokens see all that came before.
TEST(LongTraining, EvaluatesWholeDocuments) {
  TinyRun tiny(long_text());
  tiny.config.steps = 1;
  tiny.config.learning_rate = tiny.config.min_learning_rate = 0;  // the same model each time
  tiny.config.eval_tokens = 0;
  tiny.config.batch_tokens = tiny.config.sequence_length = 4000;
  const TrainResult one_pass = take(tiny.start("one_pass"));
  tiny.config.whole_documents = true;
  tiny.config.sequence_length = 8;  // does not count
  tiny.config.sequence_chunk = 64;
  const TrainResult chunks = take(tiny.start("chunks"));
  EXPECT_NEAR(chunks.held_out_loss, one_pass.held_out_loss, 1e-5);
  tiny.config.whole_documents = false;
  const TrainResult cut = take(tiny.start("cut"));
  EXPECT_GT(std::abs(cut.held_out_loss - chunks.held_out_loss), 1e-4);
}

}  // namespace
}  // namespace tnl
