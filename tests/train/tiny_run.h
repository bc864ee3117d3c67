// A data set and a configuration small enough to train in milliseconds.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/rng.h"
#include "support/require.h"
#include "support/temporary_directory.h"
#include "text/dataset.h"
#include "tnl/device.h"
#include "tnl/model.h"
#include "tnl/train.h"
#include "train/metrics.h"

namespace tnl::test {

inline std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Sentences of a tiny language, of different lengths, one document each.
inline std::string tiny_text(int documents, std::uint64_t seed) {
  static const std::vector<std::string> words = {"the ", "cat ", "sat ", "on ", "a ", "mat "};
  Rng rng(seed);
  std::string text;
  for (int i = 0; i < documents; ++i) {
    const std::uint64_t count = 1 + rng.below(12);
    for (std::uint64_t j = 0; j < count; ++j) text += words[rng.below(words.size())];
    text += "\n<>\n";
  }
  return text;
}

// Documents much longer than a sequence: most batches have one outline.
inline std::string long_documents(int documents) {
  std::string text;
  for (int i = 0; i < documents; ++i) {
    std::string words = tiny_text(150, static_cast<std::uint64_t>(i));
    std::erase_if(words, [](char letter) { return letter == '<' || letter == '>'; });
    text += words + "\n<>\n";
  }
  return text;
}

struct TinyRun {
  TemporaryDirectory directory;
  Device device = take(Device::open("cpu", {.threads = 2, .cpu_target = ""}));
  TrainConfig config;

  explicit TinyRun(const std::string& text = tiny_text(120, 7), double held_out = 0.2) {
    PackOptions pack;
    pack.inputs = {directory.write("text.txt", text).string()};
    pack.output = directory.path() / "data";
    pack.tokenizer = "bytes";
    pack.document_separator = "\n<>\n";
    pack.held_out = held_out;
    pack.held_out_by = HeldOutBy::kDocument;
    EXPECT_OK(pack_dataset(pack, [](const PackProgress&) { return true; }));
    config.data = pack.output.string();
    config.config = write_config("shape", vocab_size());
    config.preset = "";
    config.steps = 6;
    config.batch_tokens = 96;
    config.sequence_length = 32;
    config.accumulate = 2;
    config.warmup_steps = 2;
    config.learning_rate = 1e-2;
    config.min_learning_rate = 1e-3;
    config.eval_every = 2;
    config.checkpoint_every = 3;
  }

  std::int64_t vocab_size() const { return take(Dataset::open(config.data)).vocab_size(); }

  std::string write_config(const char* name, std::int64_t vocab_size) const {
    ModelConfig model;
    model.vocab_size = vocab_size;
    model.width = model.hidden = 16;
    model.layers = 2;
    model.heads = 2;
    model.glu = 24;
    model.lrpe = {1, 0};
    model.pad_id = model.bos_id = model.eos_id = -1;
    const std::filesystem::path place = directory.path() / name;
    std::filesystem::create_directories(place);
    EXPECT_OK(write_model_config(model, DType::kF32, place));
    return (place / "config.json").string();
  }

  std::filesystem::path run(const char* name) const { return directory.path() / name; }

  Result<TrainResult> start(const char* name,
                            const std::function<bool(const TrainProgress&)>& progress = {}) {
    return train_start(config, run(name), device, progress);
  }
  Result<TrainResult> resume(const char* name,
                             const std::function<bool(const TrainProgress&)>& progress = {}) {
    return train_resume(run(name), device, progress);
  }

  std::string parameters(const char* name) const {
    return file_bytes(run(name) / "model" / "model.safetensors");
  }
  std::vector<MetricsLine> metrics(const char* name) const {
    return take(read_metrics(run(name) / "metrics.jsonl"));
  }
};

// Everything but the clock.
inline void expect_same_metrics(const std::vector<MetricsLine>& a,
                                const std::vector<MetricsLine>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].step, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(a[i].step, b[i].step);
    EXPECT_EQ(a[i].loss, b[i].loss) << i;
    EXPECT_EQ(a[i].learning_rate, b[i].learning_rate) << i;
    EXPECT_EQ(a[i].gradient_norm, b[i].gradient_norm) << i;
    EXPECT_EQ(a[i].held_out_loss, b[i].held_out_loss) << i;
    EXPECT_EQ(a[i].held_out_bits_per_byte, b[i].held_out_bits_per_byte) << i;
  }
}

}  // namespace tnl::test
