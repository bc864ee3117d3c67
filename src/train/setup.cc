#include "train/setup.h"

#include <algorithm>

#include <fmt/format.h>

#include "backend/backend.h"
#include "core/try.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

Status check_vocabulary(const std::string& where, std::int64_t vocab_size,
                        const TrainConfig& config, const TrainData& data) {
  if (vocab_size == data.dataset.vocab_size()) return {};
  return invalid_argument(fmt::format("{}: found a vocabulary of {}, expected the {} of {}", where,
                                      vocab_size, data.dataset.vocab_size(), config.data));
}

Result<ModelConfig> preset_config(const TrainConfig& config, const TrainData& data,
                                  std::vector<std::string>& notes) {
  TNL_ASSIGN(const Preset preset, find_preset(config.preset));
  ModelConfig model = preset.config;
  model.bos_id = data.tokenizer->bos_id();
  model.eos_id = data.tokenizer->eos_id();
  if (model.vocab_size == data.dataset.vocab_size()) return model;
  notes.push_back(fmt::format("preset {}: vocabulary {} in place of {}, as the data has it",
                              config.preset, data.dataset.vocab_size(), model.vocab_size));
  model.vocab_size = data.dataset.vocab_size();
  model.pad_id = -1;
  return model;
}

// `path`: a file config.json or its directory.
Result<ModelConfig> file_config(const TrainConfig& config, const TrainData& data) {
  const fs::path path = config.config;
  fs::path directory = path;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    if (path.filename() != "config.json") {
      return invalid_argument(fmt::format(
          "config: found '{}', expected a file config.json or its directory", config.config));
    }
    directory = path.parent_path();
  }
  TNL_ASSIGN(ModelConfig model, read_model_config(directory));
  TNL_TRY(check_vocabulary(config.config, model.vocab_size, config, data));
  return model;
}

}  // namespace

Result<TrainData> open_train_data(const TrainConfig& config) {
  TNL_ASSIGN(Dataset dataset, Dataset::open(config.data));
  TNL_ASSIGN(auto tokenizer, load_tokenizer(dataset.tokenizer()));
  if (dataset.tokens(Dataset::Split::kTrain) == 0) {
    return invalid_argument(
        fmt::format("{}: found no token to train on, expected at least one document", config.data));
  }
  return TrainData{std::move(dataset), std::move(tokenizer)};
}

Result<ModelConfig> train_model_config(const TrainConfig& config, const TrainData& data,
                                       std::vector<std::string>& notes) {
  if (!config.init.empty()) {
    TNL_ASSIGN(ModelConfig stored, read_model_config(config.init));
    TNL_TRY(check_vocabulary(config.init, stored.vocab_size, config, data));
    return stored;
  }
  Result<ModelConfig> chosen =
      config.config.empty() ? preset_config(config, data, notes) : file_config(config, data);
  TNL_ASSIGN(ModelConfig model, std::move(chosen));
  if (config.paper_slopes) model.slopes = SlopeSchedule::kPaperLinear;
  return model;
}

Result<Model> make_train_model(const TrainConfig& config, const TrainData& data,
                               const Device& device, std::vector<std::string>& notes) {
  TNL_ASSIGN(const ModelConfig model, train_model_config(config, data, notes));
  if (!config.init.empty()) return Model::load(config.init, device, {.dtype = DType::kF32});
  return Model::create(model, device, config.seed);
}

LoaderOptions loader_options(const TrainConfig& config, Dataset::Split split) {
  return {.split = split,
          .sequence_length = config.sequence_length,
          .batch_tokens = config.batch_tokens,
          .seed = config.seed,
          .once = split == Dataset::Split::kHeldOut,
          .whole_documents = config.whole_documents};
}

std::int64_t tokens_per_pass(const TrainConfig& config) {
  if (config.sequence_chunk == 0) return config.batch_tokens;
  return config.whole_documents ? config.sequence_chunk
                                : std::min(config.sequence_chunk, config.batch_tokens);
}

Execution::Limits execution_limits(const TrainConfig& config, const std::filesystem::path& run) {
  constexpr std::size_t kMebibyte = std::size_t{1} << 20;
  return {.tokens = tokens_per_pass(config),
          .sequences = tokens_per_pass(config),
          .training = true,
          .recompute = recompute_of(config),
          .state_memory = static_cast<std::size_t>(config.state_memory) * kMebibyte,
          .state_directory = run};
}

// Whole documents may be longer than a pass; and documents are often shorter than a sequence may
// be. The held-out text is read in the same sequences.
std::vector<std::int64_t> sequence_lengths(const TrainConfig& config) {
  const std::int64_t most = config.whole_documents
                                ? tokens_per_pass(config) + 1
                                : std::min(config.sequence_length, config.batch_tokens);
  return {most, std::max<std::int64_t>(1, most / 4)};
}

Recompute recompute_of(const TrainConfig& config) {
  if (config.recompute == "full") return Recompute::kFull;
  return config.recompute == "selective" ? Recompute::kSelective : Recompute::kNone;
}

LongBatch read_long_batch(const DataLoader& loader, const BatchOutline& outline,
                          DataBatch& buffer) {
  return {.cu_seqlens = outline.cu_seqlens,
          .read = [&](std::int64_t begin, std::int64_t end) -> Result<TokenBatch> {
            TNL_TRY(loader.read(outline, begin, end, buffer));
            return TokenBatch{
                .tokens = buffer.tokens, .cu_seqlens = {}, .targets = buffer.targets, .mask = {}};
          }};
}

Status check_train_device(const Device& device) {
  if (device.backend().sum_dtype() == DType::kF32) return {};
  return invalid_argument(fmt::format(
      "device: found {}, expected cpu or cuda: training is done in f32", device.properties().name));
}

}  // namespace tnl
