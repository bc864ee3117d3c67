// state.json of a checkpoint whose other files are whole, and, behind a NUL byte, the optimizer's
// file.
#include "train/checkpoint.h"

#include <optional>

#include "fuzz/support.h"
#include "model/execution.h"
#include "text/dataset.h"

namespace tnl::fuzz {
namespace {

ModelConfig small() {
  ModelConfig config;
  config.vocab_size = 5;
  config.width = config.hidden = config.glu = 4;
  config.layers = config.heads = 1;
  config.lrpe = {1};
  return config;
}

// A run with one checkpoint and the data it reads.
struct Run {
  RunDirectory directory{workplace().path("run")};
  Model model = make();
  Gradients gradients = std::move(Gradients::create(model)).value();
  Optimizer optimizer =
      std::move(Optimizer::create(model.device(), optimizer_tensors(model, model, gradients), {}))
          .value();
  fs::path checkpoint = directory.checkpoints() / "step-00000003";
  std::optional<Dataset> data;

  Run() {
    CheckpointState state;
    state.step = 3;
    FUZZ_CHECK(write_checkpoint(directory, state, model, optimizer, 2).ok());
    PackOptions pack;
    pack.inputs = {workplace().write("text.txt", "one two three four five six seven").string()};
    pack.output = workplace().path("data");
    pack.tokenizer = "bytes";
    pack.held_out = 0;
    FUZZ_CHECK(pack_dataset(pack, {}).ok());
    data.emplace(std::move(Dataset::open(pack.output)).value());
  }
  static Model make() {
    const auto device = Device::open("cpu", {.threads = 1, .cpu_target = "generic"});
    FUZZ_CHECK(device.ok());
    return std::move(Model::create(small(), *device, 1)).value();
  }
};

bool same(const CheckpointState& a, const CheckpointState& b) {
  return a.step == b.step && a.updates == b.updates && a.skipped == b.skipped &&
         a.skipped_in_a_row == b.skipped_in_a_row && a.loader == b.loader &&
         a.dataset_fingerprint == b.dataset_fingerprint && a.device == b.device &&
         a.config_fingerprint == b.config_fingerprint;
}

void seek(const Dataset& data, const std::string& position) {
  auto loader = DataLoader::create(data, {.sequence_length = 4, .batch_tokens = 6});
  FUZZ_CHECK(loader.ok());
  if (const Status status = loader->seek(position); !status.ok()) return check_sentence(status);
  DataBatch batch;
  const auto more = loader->next(batch);
  if (!more.ok()) check_sentence(more.status());
}

constexpr const char* kState = "run/checkpoints/step-00000003/state.json";

// "files": {} in the input stands for what the files are, which no input could guess.
std::string with_files(std::string_view state_file) {
  static const std::string files = [] {
    const std::string written = workplace().read(kState);
    return written.substr(written.find("\"files\""));
  }();
  std::string state(state_file);
  if (const std::size_t at = state.find("\"files\": {}}"); at != std::string::npos) {
    state.replace(at, 12, files);
  }
  return state;
}

void find(Run& run, std::string_view state_file) {
  workplace().write(kState, with_files(state_file));
  std::vector<std::string> notes;
  const auto found = find_checkpoint(run.directory, notes);
  if (!found.ok()) return check_sentence(found.status());
  FUZZ_CHECK(found->has_value());
  const CheckpointState& state = (*found)->state;
  FUZZ_CHECK(state.step == 3 && state.updates >= 0 && state.skipped >= 0);
  seek(*run.data, state.loader);
  FUZZ_CHECK(write_checkpoint(run.directory, state, run.model, run.optimizer, 2).ok());
  const auto again = find_checkpoint(run.directory, notes);
  FUZZ_CHECK(again.ok() && again->has_value() && same((*again)->state, state));
}

void read(std::string_view input) {
  static Run run;
  const std::size_t bytes = input.size();
  const AllocationLimit limit(bytes);
  find(run, take_part(input));
  if (input.empty()) return;
  workplace().write("optimizer.safetensors", input);
  const Status status = read_optimizer({workplace().path(""), {}}, run.optimizer);
  if (!status.ok()) check_sentence(status);
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
