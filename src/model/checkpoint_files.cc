// Model::load and Model::save: Hugging Face directories of safetensors.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include "backend/host_copy.h"
#include "core/convert.h"
#include "core/file.h"
#include "core/json.h"
#include "core/printable.h"
#include "core/try.h"
#include "model/model_impl.h"
#include "model/safetensors.h"

namespace tnl {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kHeadName = "lm_head.weight";
constexpr const char* kEmbeddingName = "model.embed_tokens.weight";

struct StoredTensors {
  std::vector<SafetensorsFile> files;
  std::map<std::string, const SafetensorsEntry*> by_name;
};

// The shard files of an index, each a plain name inside the directory.
Result<std::set<std::string>> read_index(const fs::path& path) {
  TNL_ASSIGN(const std::string content, read_file(path, 1 << 26));
  const Json json = parse_json(content);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return invalid_argument(fmt::format(
        "{}: found no weight_map, expected an index of safetensors files", path.string()));
  }
  std::set<std::string> files;
  for (const auto& [name, file] : json["weight_map"].items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (!is_file_name(shard)) {
      return invalid_argument(
          fmt::format("{}: tensor '{}': found the file {}, expected a name in the same directory",
                      path.string(), printable(name), shown(file)));
    }
    files.insert(shard);
  }
  return files;
}

Result<StoredTensors> open_stored(const fs::path& directory) {
  std::set<std::string> names;
  // A link that leads nowhere is there, too: opening it says what is wrong.
  const auto is_there = [&](const char* name) {
    std::error_code ignored;
    return fs::exists(fs::symlink_status(directory / name, ignored));
  };
  if (is_there(kSingleFile)) {
    names.insert(kSingleFile);
  } else if (is_there(kIndexFile)) {
    TNL_ASSIGN(names, read_index(directory / kIndexFile));
  } else {
    return not_found(fmt::format("{}: found neither {} nor {}, expected a model directory",
                                 directory.string(), kSingleFile, kIndexFile));
  }
  StoredTensors stored;
  for (const std::string& name : names) {
    TNL_ASSIGN(SafetensorsFile file, SafetensorsFile::open(directory / name));
    stored.files.push_back(std::move(file));
  }
  for (const SafetensorsFile& file : stored.files) {
    for (const SafetensorsEntry& entry : file.entries()) {
      if (!stored.by_name.emplace(entry.name, &entry).second) {
        return invalid_argument(
            fmt::format("{}: found tensor '{}' in two files, expected it in one",
                        directory.string(), printable(entry.name)));
      }
    }
  }
  return stored;
}

// Configurations of the 15B generation may leave gate_dim out; its tensors then tell.
void recognise_generation(const StoredTensors& stored, ModelConfig& config) {
  if (config.generation == Generation::kTnl3) return;
  const auto gate = stored.by_name.find("model.layers.0.token_mixer.output_gate.0.weight");
  if (gate == stored.by_name.end() || gate->second->shape.size() != 2) return;
  config.generation = Generation::kTnl3;
  config.gate = gate->second->shape[0];
}

std::string shorten(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 8;
  if (names.size() <= kMost) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + kMost, ", "),
                     names.size() - kMost);
}

Status check_names(const fs::path& directory, const StoredTensors& stored,
                   const std::vector<ParameterSpec>& layout, bool tied) {
  std::set<std::string> expected;
  std::vector<std::string> missing;
  std::vector<std::string> unknown;
  for (const ParameterSpec& spec : layout) {
    expected.insert(spec.name);
    if (!stored.by_name.contains(spec.name)) missing.push_back(spec.name);
  }
  if (tied) expected.insert(kHeadName);  // some writers store the tied head again
  for (const auto& [name, entry] : stored.by_name) {
    if (!expected.contains(name)) unknown.push_back(printable(name));
  }
  if (missing.empty() && unknown.empty()) return {};
  std::string message = directory.string() + ": the tensors do not fit config.json:";
  if (!missing.empty())
    message += fmt::format(" {} missing ({})", missing.size(), shorten(missing));
  if (!unknown.empty()) {
    message += fmt::format("{} {} unknown ({})", missing.empty() ? "" : ";", unknown.size(),
                           shorten(unknown));
  }
  return invalid_argument(message);
}

Status check_tensor(const fs::path& directory, const SafetensorsEntry& entry,
                    const std::vector<std::int64_t>& shape) {
  if (entry.shape != shape) {
    return invalid_argument(fmt::format("{}: tensor '{}': found shape [{}], expected [{}]",
                                        directory.string(), entry.name,
                                        fmt::join(entry.shape, ", "), fmt::join(shape, ", ")));
  }
  if (!is_floating(entry.dtype)) {
    return invalid_argument(
        fmt::format("{}: tensor '{}': found dtype {}, expected f32, bf16 or f16",
                    directory.string(), entry.name, dtype_name(entry.dtype)));
  }
  return {};
}

Status check_tied_head(const fs::path& directory, const StoredTensors& stored,
                       const ModelConfig& config) {
  const auto head = stored.by_name.find(kHeadName);
  if (!config.tie_embeddings || head == stored.by_name.end()) return {};
  const SafetensorsEntry& entry = *head->second;
  TNL_TRY(check_tensor(directory, entry, {config.vocab_size, config.width}));
  const SafetensorsEntry& embedding = *stored.by_name.at(kEmbeddingName);
  const std::size_t bytes = static_cast<std::size_t>(entry.elements * dtype_size(entry.dtype));
  if (entry.dtype == embedding.dtype && std::memcmp(entry.data, embedding.data, bytes) == 0)
    return {};
  return invalid_argument(
      fmt::format("{}: {} differs from {}, expected the same values or \"tie_word_embeddings\": "
                  "false in config.json",
                  directory.string(), kHeadName, kEmbeddingName));
}

// All stored alike: that type; a mixture: f32.
DType stored_dtype(const StoredTensors& stored) {
  std::optional<DType> dtype;
  for (const auto& [name, entry] : stored.by_name) {
    if (entry->shape.size() != 2) continue;  // LRPE frequencies are often kept in f32
    if (dtype && *dtype != entry->dtype) return DType::kF32;
    dtype = entry->dtype;
  }
  return dtype.value_or(DType::kF32) == DType::kF64 ? DType::kF32 : dtype.value_or(DType::kF32);
}

// A directory whose configuration and tensors fit together.
struct CheckedDirectory {
  ModelConfig config;
  StoredTensors stored;
};

Result<CheckedDirectory> open_checked(const fs::path& directory) {
  CheckedDirectory checked;
  TNL_ASSIGN(checked.config, read_model_config(directory));
  TNL_ASSIGN(checked.stored, open_stored(directory));
  recognise_generation(checked.stored, checked.config);
  const std::vector<ParameterSpec> layout = parameter_layout(checked.config);
  TNL_TRY(check_names(directory, checked.stored, layout, checked.config.tie_embeddings));
  for (const ParameterSpec& spec : layout) {
    TNL_TRY(check_tensor(directory, *checked.stored.by_name.at(spec.name), spec.shape));
  }
  TNL_TRY(check_tied_head(directory, checked.stored, checked.config));
  return checked;
}

}  // namespace

Result<ModelSummary> inspect_model(const fs::path& directory) {
  TNL_ASSIGN(const CheckedDirectory checked, open_checked(directory));
  return ModelSummary{checked.config, stored_dtype(checked.stored)};
}

Result<Model> Model::load(const fs::path& directory, const Device& device,
                          const ModelLoadOptions& options) {
  TNL_ASSIGN(const CheckedDirectory checked, open_checked(directory));
  const ModelConfig& config = checked.config;
  const StoredTensors& stored = checked.stored;
  const bool on_gpu = device.properties().kind == DeviceKind::kCuda;
  DType dtype =
      options.dtype.value_or(on_gpu ? device.backend().compute_dtype() : stored_dtype(stored));
  if (device.backend().compute_dtype() == DType::kF64) dtype = DType::kF64;
  if (!is_floating(dtype)) {
    return invalid_argument(
        fmt::format("dtype: found {}, expected f32, bf16 or f16", dtype_name(dtype)));
  }
  TNL_ASSIGN(std::shared_ptr<Impl> impl, Impl::allocate(config, device, dtype));
  // Pieces of a fixed size, so that one huge embedding does not keep a single thread busy.
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  for (const NamedTensor& parameter : impl->parameters) {
    const SafetensorsEntry& entry = *stored.by_name.at(parameter.name);
    TNL_ASSIGN(const HostCopy room,
               HostCopy::room(device.backend(), parameter.view.data,
                              static_cast<std::size_t>(entry.elements * dtype_size(dtype))));
    std::atomic<std::int64_t> bad = -1;
    device.backend().pool().split(
        entry.elements, kPiece, [&](std::int64_t begin, std::int64_t end, int) {
          char* target = room.as<char>() + begin * dtype_size(dtype);
          convert(entry.data + begin * dtype_size(entry.dtype), entry.dtype, target, dtype,
                  end - begin);
          const std::int64_t found = first_not_finite(target, dtype, end - begin);
          if (found >= 0) bad = begin + found;
        });
    if (bad >= 0) {
      return invalid_argument(fmt::format(
          "{}: tensor '{}': found a value that is not finite in {} (element {}), expected numbers",
          directory.string(), parameter.name, dtype_name(dtype), bad.load()));
    }
    TNL_TRY(room.upload());
  }
  return Model(std::move(impl));
}

Status Model::save(const fs::path& directory, DType dtype, std::int64_t shard_bytes) const {
  if (!is_floating(dtype)) {
    return invalid_argument(
        fmt::format("dtype: found {}, expected f32, bf16 or f16", dtype_name(dtype)));
  }
  TNL_TRY(make_directories(directory));
  const char* const memory = static_cast<const char*>(impl_->memory.data());
  TNL_ASSIGN(const HostCopy host,
             HostCopy::download(device().backend(), memory, impl_->memory.bytes()));
  std::vector<std::vector<SafetensorsWrite>> shards(1);
  std::int64_t shard = 0;
  std::int64_t total = 0;
  for (const NamedTensor& parameter : impl_->parameters) {
    const std::int64_t bytes = parameter.view.elements() * dtype_size(dtype);
    if (shard > 0 && shard + bytes > shard_bytes) {
      shards.emplace_back();
      shard = 0;
    }
    TensorView view = parameter.view;
    view.data = host.as<char>() + (static_cast<const char*>(view.data) - memory);
    shards.back().push_back({parameter.name, dtype, view});
    shard += bytes;
    total += bytes;
  }
  const std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (shards.size() == 1) {
    TNL_TRY(write_safetensors(directory / kSingleFile, shards[0], metadata));
    return write_model_config(config(), dtype, directory);
  }
  Json weight_map = Json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    for (const SafetensorsWrite& tensor : shards[i]) weight_map[tensor.name] = name;
    TNL_TRY(write_safetensors(directory / name, shards[i], metadata));
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  TNL_TRY(write_file(directory / kIndexFile, index.dump(2) + "\n"));
  std::error_code ignored;
  fs::remove(directory / kSingleFile, ignored);  // of an earlier save: it would be read first
  return write_model_config(config(), dtype, directory);
}

}  // namespace tnl
