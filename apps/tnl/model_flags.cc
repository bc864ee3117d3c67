#include "tnl/model_flags.h"

#include <map>
#include <optional>

#include <fmt/format.h>

namespace tnl::command {
namespace {

const std::map<std::string, DType> kStorage = {
    {"f32", DType::kF32}, {"bf16", DType::kBF16}, {"f16", DType::kF16}};

[[noreturn]] void refuse(std::string sentence) {
  throw Exit{kExitBadInput, std::move(sentence)};
}

}  // namespace

void ModelFlags::add(CLI::App& command) {
  command
      .add_option("--model", model,
                  "model directory (Hugging Face layout), or the directory of a training run")
      ->required();
  command.add_option("--tokenizer", tokenizer,
                     "a SentencePiece .model file, a directory with tokenizer files, or \"bytes\"; "
                     "the default is the model directory");
  command
      .add_option("--dtype", dtype,
                  "storage of the parameters in memory: f32, bf16 or f16; the default is as in the "
                  "file. Arithmetic is fp32 all the same")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  device.add(command);
}

ModelFlags::Loaded ModelFlags::load() const {
  const std::filesystem::path directory = find_model(model);
  Result<std::shared_ptr<const Tokenizer>> vocabulary =
      load_tokenizer(tokenizer.empty() ? directory : std::filesystem::path(tokenizer));
  if (!vocabulary.ok() && tokenizer.empty()) {
    refuse(vocabulary.status().message() + "; --tokenizer names one that lies elsewhere");
  }
  std::shared_ptr<const Tokenizer> ids = require(std::move(vocabulary));
  ModelLoadOptions options;
  if (!dtype.empty()) options.dtype = kStorage.at(dtype);
  Model parameters = require(Model::load(directory, device.open(), options));
  if (ids->vocab_size() > parameters.config().vocab_size) {
    refuse(fmt::format(
        "the tokenizer has {} ids but the model in {} a vocabulary of {}: they do not belong "
        "together",
        ids->vocab_size(), directory.string(), parameters.config().vocab_size));
  }
  return {std::move(parameters), std::move(ids)};
}

std::filesystem::path find_model(const std::filesystem::path& directory) {
  std::error_code ignored;
  const auto exists = [&](const std::filesystem::path& path) {
    return std::filesystem::exists(path, ignored);
  };
  if (!std::filesystem::is_directory(directory, ignored)) {
    refuse(fmt::format("{} is not a directory: expected a model directory or a training run",
                       directory.string()));
  }
  if (exists(directory / "config.json")) return directory;
  if (exists(directory / "model" / "config.json")) return directory / "model";
  if (exists(directory / "run.json")) {
    refuse(
        fmt::format("the training run {} has no model yet: it is written with the first checkpoint",
                    directory.string()));
  }
  refuse(fmt::format("{} holds no config.json: expected a model directory or a training run",
                     directory.string()));
}

}  // namespace tnl::command
