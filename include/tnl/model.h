// TransNormerLLM: configuration, parameters, model directories.
// Both released generations: "tnl" (385M, 1B, 7B) and "tnl3" (15B); docs/math.md says how they
// differ.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tnl/device.h"
#include "tnl/status.h"
#include "tnl/tensor.h"

namespace tnl {

enum class Generation {
  kTnl,   // fused q|k|v|u projection, SiLU on q and k, gate u · norm(o)
  kTnl3,  // fused q|k|v projection, SiLU on all three, low-rank gate sigmoid(W1 W0 x) · norm(o)
};

enum class SlopeSchedule {
  kReleased,     // slope = 2^(-8 (h+1) / H) (1 - l / (L-1) + 1e-5), as the released code
  kPaperLinear,  // slope = (8 h / H) (1 - l / L), eq. 10 of the paper with h, l counted from 0
};

// Field names in config.json are in the comments; docs/math.md has the equations.
struct ModelConfig {
  Generation generation = Generation::kTnl;
  std::int64_t vocab_size = 0;
  std::int64_t width = 0;          // decoder_embed_dim
  std::int64_t layers = 0;         // decoder_layers
  std::int64_t heads = 0;          // decoder_attention_heads
  std::int64_t hidden = 0;         // hidden_dim: width of the token mixer; heads divide it
  std::int64_t glu = 0;            // glu_dim (-1 in the file means width)
  std::int64_t gate = 16;          // gate_dim, tnl3 only
  bool silu = true;                // linear_act_fun: "silu" or "swish"; "none" for no activation
  bool scale_embedding = true;     // not no_scale_embedding: embeddings times sqrt(width)
  bool tie_embeddings = true;      // tie_word_embeddings
  std::vector<std::uint8_t> lrpe;  // linear_use_lrpe_list, one entry a layer
  std::int64_t pad_id = 0, bos_id = 1, eos_id = 2;  // -1: none
  double init_std = 0.02;
  double norm_eps = 1e-6;
  double attention_scale = 1.0;  // "tnl_attention_scale"; the released code has none
  SlopeSchedule slopes = SlopeSchedule::kReleased;  // "tnl_slopes": "released" or "paper-linear"

  std::int64_t head_dim() const { return hidden / heads; }
  std::int64_t key_dim(std::int64_t layer) const { return head_dim() * (lrpe[layer] ? 2 : 1); }
  // Distinct parameters (a tied head counts once).
  std::int64_t parameter_count() const;
  // Natural-log decay of every head of a layer: -slope. Size heads.
  std::vector<float> log_decay(std::int64_t layer) const;
  // Every field in its range and consistent with the others, or a sentence that names it.
  Status validate() const;
};

// A named configuration and, for each value, where it comes from.
struct Preset {
  std::string name;
  ModelConfig config;
  std::string provenance;  // one line: which values are published, which derived or ours
};
// 6m, 44m, 385m, 1b, 7b, 15b.
const std::vector<Preset>& presets();
Result<Preset> find_preset(std::string_view name);

// Reads and writes config.json of a model directory.
Result<ModelConfig> read_model_config(const std::filesystem::path& directory);
Status write_model_config(const ModelConfig& config, DType dtype,
                          const std::filesystem::path& directory);

// What a model directory holds, from its headers alone.
struct ModelSummary {
  ModelConfig config;
  DType dtype = DType::kF32;  // of the stored parameters
};
Result<ModelSummary> inspect_model(const std::filesystem::path& directory);

struct NamedTensor {
  std::string name;  // as in the released checkpoints
  TensorView view;
};

struct ModelLoadOptions {
  // Storage of the parameters in memory. Not given: as stored in the file on the CPU (bf16 and f16
  // stay so; arithmetic is fp32 all the same), as the activations on a GPU. Training needs kF32.
  std::optional<DType> dtype;
};

// Parameters on a device. Copies share them.
class Model {
 public:
  // A Hugging Face directory: config.json and model.safetensors, or a sharded index. Unknown or
  // missing tensors are an error that lists them.
  static Result<Model> load(const std::filesystem::path& directory, const Device& device,
                            const ModelLoadOptions& options = {});
  // Random parameters: normal(0, init_std), LRPE frequencies as published. The same values on
  // every device, stored as f32 (f64 on reference), or as `dtype`, which only inference takes.
  static Result<Model> create(const ModelConfig& config, const Device& device, std::uint64_t seed,
                              std::optional<DType> dtype = {});

  // Writes config.json and model.safetensors (sharded beyond `shard_bytes`), each file under a
  // temporary name, synced and renamed.
  Status save(const std::filesystem::path& directory, DType dtype = DType::kF32,
              std::int64_t shard_bytes = std::int64_t{4} << 30) const;

  const ModelConfig& config() const;
  const Device& device() const;
  DType dtype() const;
  // In the order of the memory: every tensor once, the head only where it is not tied.
  const std::vector<NamedTensor>& parameters() const;
  // Tells this model from others: the configuration as far as it decides the numbers, the storage
  // and every parameter. Reads them all.
  Result<std::uint64_t> fingerprint() const;

  struct Impl;
  static Model share(std::shared_ptr<Impl> impl) { return Model(std::move(impl)); }
  const Impl& impl() const { return *impl_; }
  Impl& impl() { return *impl_; }

 private:
  explicit Model(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace tnl
