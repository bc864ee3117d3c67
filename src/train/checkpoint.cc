#include "train/checkpoint.h"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>

#include <fmt/format.h>

#include "backend/host_copy.h"
#include "core/file.h"
#include "core/json.h"
#include "core/try.h"
#include "model/safetensors.h"
#include "train/config.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kPrefix = "step-";
constexpr const char* kState = "state.json";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kChoices = "choices.txt";  // on a GPU
constexpr std::size_t kMostChoices = std::size_t{1} << 28;
constexpr const char* kRequired[] = {"config.json", "model.safetensors", kOptimizer};
constexpr int kFormat = 1;

std::string crc_text(std::string_view bytes) {
  const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
  return fmt::format("{:08x}", ::crc32_z(::crc32_z(0, nullptr, 0), data, bytes.size()));
}

Result<Json> describe_file(const fs::path& path) {
  TNL_ASSIGN(const MappedFile file, MappedFile::open(path));
  return Json{{"bytes", file.text().size()}, {"crc32", crc_text(file.text())}};
}

// Steps of the checkpoint directories, newest first.
std::vector<std::int64_t> checkpoint_steps(const RunDirectory& run) {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(run.checkpoints(), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    std::int64_t step = 0;
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + std::strlen(kPrefix), end, step);
    if (parsed.ec == std::errc() && parsed.ptr == end) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

fs::path step_directory(const RunDirectory& run, std::int64_t step) {
  return run.checkpoints() / fmt::format("{}{:08}", kPrefix, step);
}

TensorView as_vector(std::span<float> values) {
  return TensorView::contiguous(values.data(), DType::kF32,
                                {static_cast<std::int64_t>(values.size())});
}

Status write_optimizer(const fs::path& path, Optimizer& optimizer, Backend& backend) {
  std::vector<HostCopy> copies;
  std::vector<SafetensorsWrite> tensors;
  for (const Optimizer::Moment& moment : optimizer.moments()) {
    TNL_ASSIGN(HostCopy copy,
               HostCopy::download(backend, moment.values.data(), moment.values.size_bytes()));
    tensors.push_back(
        {moment.name, DType::kF32, as_vector({copy.as<float>(), moment.values.size()})});
    copies.push_back(std::move(copy));
  }
  return write_safetensors(path, tensors);
}

nlohmann::ordered_json state_json(const CheckpointState& state) {
  return {{"format", kFormat},
          {"step", state.step},
          {"updates", state.updates},
          {"skipped", state.skipped},
          {"skipped_in_a_row", state.skipped_in_a_row},
          {"seconds", state.seconds},
          {"held_out_loss", state.held_out_loss},
          {"held_out_bits_per_byte", state.held_out_bits_per_byte},
          {"loader", state.loader},
          {"dataset_fingerprint", state.dataset_fingerprint},
          {"device", state.device},
          {"config_fingerprint", state.config_fingerprint}};
}

template <class T>
bool take(const Json& json, const char* key, T& field) {
  const auto value = json.find(key);
  if (value == json.end()) return false;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!value->is_string()) return false;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return take_integer(*value, field) && field >= 0;
  } else {
    if (value->is_null()) return field = std::numeric_limits<T>::quiet_NaN(), true;
    if (!value->is_number()) return false;
  }
  field = value->template get<T>();
  return true;
}

bool take_state(const Json& json, CheckpointState& state) {
  return take(json, "step", state.step) && take(json, "updates", state.updates) &&
         take(json, "skipped", state.skipped) &&
         take(json, "skipped_in_a_row", state.skipped_in_a_row) &&
         take(json, "seconds", state.seconds) && take(json, "held_out_loss", state.held_out_loss) &&
         take(json, "held_out_bits_per_byte", state.held_out_bits_per_byte) &&
         take(json, "loader", state.loader) &&
         take(json, "dataset_fingerprint", state.dataset_fingerprint) &&
         take(json, "device", state.device) &&
         take(json, "config_fingerprint", state.config_fingerprint);
}

// What the directory holds, if everything is as state.json says.
Result<FoundCheckpoint> open_checkpoint(const fs::path& directory) {
  const fs::path path = directory / kState;
  TNL_ASSIGN(const std::string content, read_file(path, 1 << 20));
  const Json json = parse_json(content);
  FoundCheckpoint found{.directory = directory, .state = {}};
  if (!json.is_object() || json.value("format", Json()) != kFormat ||
      !take_state(json, found.state) || !json.value("files", Json()).is_object()) {
    return invalid_argument(
        fmt::format("{}: expected the state of a checkpoint of format {}", path.string(), kFormat));
  }
  std::vector<const char*> names(std::begin(kRequired), std::end(kRequired));
  if (json["files"].contains(kChoices)) names.push_back(kChoices);
  for (const char* name : names) {
    const auto expected = json["files"].find(name);
    if (expected == json["files"].end()) {
      return invalid_argument(fmt::format("{}: {} is not listed", path.string(), name));
    }
    TNL_ASSIGN(const Json actual, describe_file(directory / name));
    if (actual != *expected) {
      return invalid_argument(fmt::format("{}: found {}, expected {}", (directory / name).string(),
                                          shown(actual), shown(*expected)));
    }
  }
  return found;
}

Status read_moment(const SafetensorsFile& file, const fs::path& path,
                   const Optimizer::Moment& moment, Backend& backend) {
  const SafetensorsEntry* entry = file.find(moment.name);
  const auto elements = static_cast<std::int64_t>(moment.values.size());
  if (entry == nullptr || entry->dtype != DType::kF32 || entry->elements != elements) {
    return invalid_argument(
        fmt::format("{}: {}: found {}, expected f32[{}]", path.string(), moment.name,
                    entry == nullptr ? "no such tensor" : "another tensor", elements));
  }
  return backend.upload(moment.values.data(), entry->data, moment.values.size_bytes());
}

}  // namespace

std::string config_fingerprint(const TrainConfig& config) {
  TrainConfig numbers = config;  // how often it is looked at and where the data lies do not matter
  const TrainConfig defaults;
  numbers.data.clear();
  numbers.checkpoint_every = defaults.checkpoint_every;
  numbers.keep_checkpoints = defaults.keep_checkpoints;
  numbers.eval_every = defaults.eval_every;
  numbers.eval_tokens = defaults.eval_tokens;
  numbers.state_memory = defaults.state_memory;
  numbers.recompute = defaults.recompute;
  return crc_text(train_config_json(numbers));
}

std::string describe_device(const DeviceProperties& properties) {
  if (properties.kind == DeviceKind::kCuda) {
    return fmt::format("{}, {}", properties.gpu.model, dtype_name(properties.gpu.compute));
  }
  return fmt::format("{} {}, {} thread{}", properties.name, properties.cpu_target,
                     properties.threads, properties.threads == 1 ? "" : "s");
}

Status write_checkpoint(const RunDirectory& run, const CheckpointState& state, const Model& model,
                        Optimizer& optimizer, std::int64_t keep) {
  TNL_TRY(make_directories(run.checkpoints()));
  TNL_ASSIGN(StagedDirectory staged, StagedDirectory::create(step_directory(run, state.step)));
  TNL_TRY(model.save(staged.path(), DType::kF32, std::numeric_limits<std::int64_t>::max()));
  TNL_TRY(write_optimizer(staged.path() / kOptimizer, optimizer, model.device().backend()));
  std::vector<const char*> names(std::begin(kRequired), std::end(kRequired));
  if (const std::string choices = model.device().backend().choices(); !choices.empty()) {
    TNL_TRY(write_file(staged.path() / kChoices, choices));
    names.push_back(kChoices);
  }
  nlohmann::ordered_json json = state_json(state);
  for (const char* name : names) {
    TNL_ASSIGN(json["files"][name], describe_file(staged.path() / name));
  }
  TNL_TRY(write_file(staged.path() / kState, json.dump(2) + "\n"));
  TNL_TRY(staged.publish());
  // Damaged ones that are newer than this step do not count and are replaced when it is their turn.
  std::int64_t kept = 0;
  for (const std::int64_t step : checkpoint_steps(run)) {
    if (step > state.step || ++kept <= keep) continue;
    TNL_TRY(remove_directory(step_directory(run, step)));
  }
  return {};
}

Result<std::optional<FoundCheckpoint>> find_checkpoint(const RunDirectory& run,
                                                       std::vector<std::string>& notes) {
  const std::vector<std::int64_t> steps = checkpoint_steps(run);
  if (steps.empty()) return std::optional<FoundCheckpoint>();
  for (const std::int64_t step : steps) {
    const fs::path directory = step_directory(run, step);
    Result<FoundCheckpoint> found = open_checkpoint(directory);
    if (found.ok() && found->state.step == step) return std::optional(std::move(found).value());
    const std::string why = found.ok() ? fmt::format("state.json says step {}", found->state.step)
                                       : found.status().message();
    notes.push_back(fmt::format("checkpoint {} is not whole and is passed over: {}",
                                directory.filename().string(), why));
  }
  return invalid_argument(
      fmt::format("run {}: found no whole checkpoint among {}, expected one ({})",
                  run.root.string(), steps.size(), notes.back()));
}

Result<std::string> adopt_choices(const FoundCheckpoint& checkpoint, Backend& backend) {
  const fs::path path = checkpoint.directory / kChoices;
  std::error_code error;
  if (!fs::exists(path, error)) return std::string();
  TNL_ASSIGN(const std::string text, read_file(path, kMostChoices));
  Result<std::string> left_aside = backend.adopt_choices(text);
  if (left_aside.ok()) return left_aside;
  return Status(left_aside.status().code(),
                fmt::format("{}: {}", path.string(), left_aside.status().message()));
}

Status read_optimizer(const FoundCheckpoint& checkpoint, Optimizer& optimizer) {
  Backend& backend = optimizer.device().backend();
  const fs::path path = checkpoint.directory / kOptimizer;
  TNL_ASSIGN(const SafetensorsFile file, SafetensorsFile::open(path));
  for (const Optimizer::Moment& moment : optimizer.moments()) {
    TNL_TRY(read_moment(file, path, moment, backend));
  }
  optimizer.set_updates(checkpoint.state.updates);
  return {};
}

}  // namespace tnl
