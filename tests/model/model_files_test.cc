// Model directories: what is written is read again, what does not fit gets a sentence.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "model/model_cases.h"
#include "model/safetensors.h"
#include "support/require.h"
#include "support/temporary_directory.h"
#include "tnl/model.h"

namespace tnl {
namespace {

using test::small_config;
using test::take;
using test::TemporaryDirectory;

Device cpu() {
  return take(Device::open("cpu", {.threads = 2}));
}

void expect_equal(const Model& a, const Model& b) {
  ASSERT_EQ(a.parameters().size(), b.parameters().size());
  for (std::size_t i = 0; i < a.parameters().size(); ++i) {
    const TensorView& x = a.parameters()[i].view;
    const TensorView& y = b.parameters()[i].view;
    ASSERT_EQ(x.elements(), y.elements());
    EXPECT_EQ(
        std::memcmp(x.data, y.data, static_cast<std::size_t>(x.elements() * dtype_size(x.dtype))),
        0)
        << a.parameters()[i].name;
  }
}

TEST(ModelFiles, RoundTripWholeAndSharded) {
  for (const test::NamedConfig& entry : test::config_cases()) {
    const Model model = take(Model::create(entry.config, cpu(), 3));
    const TemporaryDirectory whole;
    ASSERT_TRUE(model.save(whole.path()).ok());
    expect_equal(model, take(Model::load(whole.path(), cpu())));
    // Sharded over the same directory: the single file of before must not win.
    const Model other = take(Model::create(entry.config, cpu(), 4));
    ASSERT_TRUE(other.save(whole.path(), DType::kF32, 5000).ok());
    EXPECT_TRUE(std::filesystem::exists(whole.path() / "model.safetensors.index.json"));
    expect_equal(other, take(Model::load(whole.path(), cpu())));
  }
}

TEST(ModelFiles, SixteenBitStorageStaysUntilAskedOtherwise) {
  const Model model = take(Model::create(small_config(), cpu(), 3));
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const TemporaryDirectory directory;
    ASSERT_TRUE(model.save(directory.path(), dtype).ok());
    EXPECT_EQ(take(inspect_model(directory.path())).dtype, dtype);
    const Model stored = take(Model::load(directory.path(), cpu()));
    EXPECT_EQ(stored.dtype(), dtype);
    const Model widened = take(Model::load(directory.path(), cpu(), {.dtype = DType::kF32}));
    const auto* found = static_cast<const float*>(widened.parameters()[0].view.data);
    const auto* expected = static_cast<const float*>(model.parameters()[0].view.data);
    for (int i = 0; i < 100; ++i) EXPECT_NEAR(found[i], expected[i], 4e-3 * std::abs(expected[i]));
    // Execution takes 16-bit parameters as they are.
    Execution execution = take(Execution::create(stored, {.tokens = 3, .sequences = 1}));
    const std::vector<std::int32_t> tokens = {1, 2, 3};
    const std::vector<std::int64_t> cu_seqlens = {0, 3};
    std::vector<float> logits(37), expected_logits(37);
    EXPECT_OK(execution.forward({.tokens = tokens, .cu_seqlens = cu_seqlens}, nullptr, logits));
    Execution wide = take(Execution::create(widened, {.tokens = 3, .sequences = 1}));
    EXPECT_OK(wide.forward({.tokens = tokens, .cu_seqlens = cu_seqlens}, nullptr, expected_logits));
    for (int i = 0; i < 37; ++i) EXPECT_NEAR(logits[i], expected_logits[i], 1e-4);
    EXPECT_FALSE(Execution::create(stored, {.tokens = 3, .sequences = 1, .training = true}).ok());
  }
}

// Writes the model again with its tensors changed by `edit`.
template <class Edit>
Status damage(const std::filesystem::path& directory, const Model& model, const Edit& edit) {
  std::vector<SafetensorsWrite> tensors;
  for (const NamedTensor& p : model.parameters()) tensors.push_back({p.name, DType::kF32, p.view});
  edit(tensors);
  return write_safetensors(directory / "model.safetensors", tensors);
}

TEST(ModelFiles, WhatDoesNotFitIsListed) {
  const Model model = take(Model::create(small_config(), cpu(), 3));
  const TemporaryDirectory directory;
  ASSERT_TRUE(model.save(directory.path()).ok());
  const auto expect_message = [&](const std::string& part) {
    const auto loaded = Model::load(directory.path(), cpu());
    ASSERT_FALSE(loaded.ok()) << part;
    EXPECT_EQ(loaded.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(loaded.status().message().find(part), std::string::npos) << loaded.status().message();
    EXPECT_FALSE(inspect_model(directory.path()).ok());
  };
  ASSERT_TRUE(damage(directory.path(), model, [](auto& t) {
                t.erase(t.begin() + 1);
                t.push_back(t.back());
                t.back().name = "model.extra";
              }).ok());
  expect_message(
      "1 missing (model.layers.0.token_mixer.qkvu_proj.weight); 1 unknown (model.extra)");
  ASSERT_TRUE(damage(directory.path(), model, [](auto& t) {
                std::swap(t[0].view.shape[0], t[0].view.shape[1]);
              }).ok());
  expect_message("model.embed_tokens.weight': found shape [24, 37], expected [37, 24]");
  // A tied head may be stored again, but not with other values.
  ASSERT_TRUE(damage(directory.path(), model, [](auto& t) {
                t.push_back(t[0]);
                t.back().name = "lm_head.weight";
              }).ok());
  EXPECT_TRUE(Model::load(directory.path(), cpu()).ok());
  std::vector<float> other(37 * 24, 1.0f);
  ASSERT_TRUE(damage(directory.path(), model, [&](auto& t) {
                t.push_back({"lm_head.weight", DType::kF32,
                             TensorView::contiguous(other.data(), DType::kF32, {37, 24})});
              }).ok());
  expect_message("lm_head.weight differs");
  std::filesystem::remove(directory.path() / "model.safetensors");
  EXPECT_EQ(Model::load(directory.path(), cpu()).status().code(), StatusCode::kNotFound);
}

TEST(ModelFiles, ValuesThatAreNotFiniteAreRefused) {
  for (const float bad : {std::nanf(""), -INFINITY, 1e6f}) {
    Model model = take(Model::create(small_config(), cpu(), 3));
    static_cast<float*>(model.parameters()[1].view.data)[5] = bad;
    const TemporaryDirectory directory;
    ASSERT_TRUE(model.save(directory.path()).ok());
    const bool fits_f32 = std::isfinite(bad);
    EXPECT_EQ(Model::load(directory.path(), cpu()).ok(), fits_f32);
    const auto narrow = Model::load(directory.path(), cpu(), {.dtype = DType::kF16});
    ASSERT_FALSE(narrow.ok());
    EXPECT_EQ(narrow.status().code(), StatusCode::kInvalidArgument);
    const std::string expected =
        "'" + model.parameters()[1].name + "': found a value that is not finite in f16 (element 5)";
    EXPECT_NE(narrow.status().message().find(expected), std::string::npos)
        << narrow.status().message();
  }
}

TEST(ModelFiles, TheGenerationIsKnownByItsTensors) {
  const ModelConfig config = small_config(Generation::kTnl3);
  const Model model = take(Model::create(config, cpu(), 3));
  const TemporaryDirectory directory;
  ASSERT_TRUE(model.save(directory.path()).ok());
  ModelConfig without_gate = config;
  without_gate.generation = Generation::kTnl;  // writes no gate_dim
  ASSERT_TRUE(write_model_config(without_gate, DType::kF32, directory.path()).ok());
  const Model loaded = take(Model::load(directory.path(), cpu()));
  EXPECT_EQ(loaded.config().generation, Generation::kTnl3);
  EXPECT_EQ(loaded.config().gate, config.gate);
  expect_equal(model, loaded);
}

TEST(ModelFiles, AnIndexMayNotLeaveItsDirectory) {
  const Model model = take(Model::create(small_config(), cpu(), 3));
  const TemporaryDirectory directory;
  ASSERT_TRUE(model.save(directory.path(), DType::kF32, 5000).ok());
  for (const char* index : {R"({"weight_map": {"a": "../x.safetensors"}})", R"({"weight_map": 3})",
                            R"({"weight_map": {"a": 1}})", "{", R"({"weight_map": {"a": ".."}})"}) {
    directory.write("model.safetensors.index.json", index);
    const auto loaded = Model::load(directory.path(), cpu());
    ASSERT_FALSE(loaded.ok()) << index;
    EXPECT_NE(loaded.status().message().find("index.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace tnl
