// A resumed run is the uninterrupted one, bit for bit, however it was stopped.
#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "train/tiny_run.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using test::expect_same_metrics;
using test::take;
using test::TinyRun;

TEST(Resume, RepeatsTheRunThatWasNotStopped) {
  TinyRun tiny;
  ASSERT_TRUE(take(tiny.start("whole")).finished);
  const TrainResult stopped =
      take(tiny.start("parts", [](const TrainProgress& p) { return p.step < 2; }));
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.step, 2);
  EXPECT_TRUE(fs::exists(tiny.run("parts") / "model" / "model.safetensors"));
  for (const std::int64_t stop : {2, 4, 6}) {  // 2: stopped again before any step
    const TrainResult part =
        take(tiny.resume("parts", [&](const TrainProgress& p) { return p.step < stop; }));
    EXPECT_EQ(part.step, stop);
  }
  EXPECT_EQ(tiny.parameters("parts"), tiny.parameters("whole"));
  const char* moments = "checkpoints/step-00000006/optimizer.safetensors";
  EXPECT_EQ(test::file_bytes(tiny.run("parts") / moments),
            test::file_bytes(tiny.run("whole") / moments));
  expect_same_metrics(tiny.metrics("whole"), tiny.metrics("parts"));
}

// A copy of the directory taken inside step 5 is what a kill there would leave: the checkpoint of
// step 3, metrics up to 4 or 5.
TEST(Resume, GoesBackToTheLastCheckpointAfterAKill) {
  TinyRun tiny;
  take(tiny.start("whole", [&](const TrainProgress& p) {
    if (p.step == 5) fs::copy(tiny.run("whole"), tiny.run("killed"), fs::copy_options::recursive);
    return true;
  }));
  EXPECT_EQ(tiny.metrics("killed").size(), 5u);
  // Half a line, half a checkpoint, half a model.
  std::ofstream(tiny.run("killed") / "metrics.jsonl", std::ios::app) << R"({"step": 6, "lo)";
  fs::create_directories(tiny.run("killed") / "checkpoints" / "step-00000006.tmp.1");
  fs::create_directories(tiny.run("killed") / "model.tmp.1");

  std::vector<std::string> notes;
  const TrainResult result = take(tiny.resume("killed", [&](const TrainProgress& p) {
    notes.insert(notes.end(), p.notes.begin(), p.notes.end());
    return true;
  }));
  EXPECT_TRUE(result.finished);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0], "resumed at step 3");
  EXPECT_EQ(tiny.parameters("killed"), tiny.parameters("whole"));
  expect_same_metrics(tiny.metrics("whole"), tiny.metrics("killed"));
  EXPECT_FALSE(fs::exists(tiny.run("killed") / "model.tmp.1"));
}

TEST(Resume, PassesOverADamagedCheckpointWithANote) {
  TinyRun tiny;
  tiny.config.checkpoint_every = 2;
  take(tiny.start("whole"));
  take(tiny.start("damaged", [](const TrainProgress& p) { return p.step < 4; }));
  fs::resize_file(tiny.run("damaged") / "checkpoints/step-00000004/model.safetensors", 100);
  std::string note;
  take(tiny.resume("damaged", [&](const TrainProgress& p) {
    if (!p.notes.empty()) note = p.notes[0];
    return true;
  }));
  EXPECT_NE(note.find("checkpoint step-00000004 is not whole"), std::string::npos) << note;
  EXPECT_EQ(tiny.parameters("damaged"), tiny.parameters("whole"));
  expect_same_metrics(tiny.metrics("whole"), tiny.metrics("damaged"));
}

TEST(Resume, StartsAgainWhereThereIsNoCheckpointYet) {
  TinyRun tiny;
  take(tiny.start("whole"));
  const TrainResult none = take(tiny.start("none", [](const TrainProgress&) { return false; }));
  EXPECT_EQ(none.step, 0);
  EXPECT_TRUE(take(tiny.resume("none")).finished);
  EXPECT_EQ(tiny.parameters("none"), tiny.parameters("whole"));
}

// Killed after the lock was taken and before run.json was there.
TEST(Resume, StartsAgainWhereThereIsNoRunYet) {
  TinyRun tiny;
  fs::create_directories(tiny.run("run"));
  std::ofstream(tiny.run("run") / "lock");
  std::ofstream(tiny.run("run") / "run.json.tmp.4711") << "{";
  EXPECT_TRUE(take(tiny.start("run")).finished);
  EXPECT_FALSE(fs::exists(tiny.run("run") / "run.json.tmp.4711"));
  EXPECT_FALSE(tiny.start("run").ok());
}

TEST(Resume, OfAFinishedRunGivesItsResult) {
  TinyRun tiny;
  const TrainResult first = take(tiny.start("run"));
  fs::remove_all(tiny.run("run") / "model");  // killed just before it was written
  const TrainResult again = take(tiny.resume("run"));
  EXPECT_TRUE(again.finished);
  EXPECT_EQ(again.step, 6);
  EXPECT_EQ(again.held_out_loss, first.held_out_loss);
  EXPECT_TRUE(fs::exists(tiny.run("run") / "model" / "model.safetensors"));
  EXPECT_EQ(tiny.metrics("run").size(), 6u);
}

TEST(Resume, SaysWhatIsWrong) {
  TinyRun tiny;
  EXPECT_NE(tiny.resume("nothing").status().message().find("run.json"), std::string::npos);
  take(tiny.start("run", [](const TrainProgress& p) { return p.step < 3; }));
  {
    std::string inner;  // while it runs, a second process is refused
    take(tiny.resume("run", [&](const TrainProgress& p) {
      if (p.step == 4) inner = tiny.resume("run").status().message();
      return p.step < 4;
    }));
    EXPECT_NE(inner.find("another process"), std::string::npos) << inner;
  }
  TinyRun other(test::tiny_text(50, 99));
  fs::remove_all(tiny.config.data);
  fs::copy(other.config.data, tiny.config.data, fs::copy_options::recursive);
  const auto changed = tiny.resume("run");
  ASSERT_FALSE(changed.ok());
  EXPECT_NE(changed.status().message().find("other content"), std::string::npos)
      << changed.status().message();
}

// Kills a training process again and again, at whatever it is doing.
TEST(SlowResume, SurvivesKillsAtAnyMoment) {
  TinyRun tiny;
  tiny.config.steps = 60;
  tiny.config.checkpoint_every = 1;
  tiny.config.eval_every = 10;
  take(tiny.start("whole"));
  // A fork has only the calling thread, so the children open devices of their own.
  const auto train = [&](bool start) {
    const Device device = take(Device::open("cpu", {.threads = 2, .cpu_target = ""}));
    const auto result = start ? train_start(tiny.config, tiny.run("killed"), device, {})
                              : train_resume(tiny.run("killed"), device, {});
    return result.ok() ? 0 : 1;
  };
  Rng rng(11);
  int kills = 0;
  bool finished = false;
  for (int attempt = 0; attempt < 400 && !finished; ++attempt) {
    const bool start = !fs::exists(tiny.run("killed") / "run.json");
    if (start) fs::remove_all(tiny.run("killed"));
    const pid_t child = ::fork();
    if (child == 0) ::_exit(train(start));
    std::this_thread::sleep_for(std::chrono::microseconds(20000 + rng.below(150000)));
    if (attempt < 300) ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      finished = true;
    } else {
      ++kills;
    }
  }
  EXPECT_TRUE(finished);
  EXPECT_GT(kills, 0);
  EXPECT_EQ(tiny.parameters("killed"), tiny.parameters("whole"));
  expect_same_metrics(tiny.metrics("whole"), tiny.metrics("killed"));
}

}  // namespace
}  // namespace tnl
