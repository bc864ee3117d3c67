// tnl train: starts or resumes a run and shows how it goes.
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "backend/backend.h"
#include "tnl/cli.h"
#include "tnl/commands.h"
#include "tnl/progress.h"
#include "tnl/train.h"
#include "train/config.h"
#include "train/memory.h"
#include "train/run_directory.h"

namespace tnl::command {
namespace {

struct TrainOptions {
  TrainConfig flags;                            // as given on the command line
  std::map<std::string, CLI::Option*> options;  // by the name of the field
  std::string run, resume, settings;
  bool dry_run = false;
  DeviceFlags device;
};

std::string flag_name(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

// Defaults, under the settings file, under the flags.
TrainConfig assemble(TrainOptions& options) {
  TrainConfig config;
  if (!options.settings.empty()) config = require(read_train_config(options.settings));
  const auto given = [&](const char* name) { return options.options.at(name)->count() > 0; };
  if (given("config") || given("init")) {
    config.preset.clear();
    config.config.clear();
    config.init.clear();
  }
  if (given("preset")) {
    config.config.clear();
    config.init.clear();
  }
  // The two configurations are walked side by side.
  visit_train_config(options.flags, [&](const char* name, auto& flag, const char*) {
    if (!given(name)) return;
    visit_train_config(config, [&](const char* other, auto& field, const char*) {
      if constexpr (std::is_same_v<decltype(field), decltype(flag)>) {
        if (std::string_view(name) == other) field = flag;
      }
    });
  });
  return config;
}

// One progress line; evaluations, skipped steps and notes stay as lines of their own.
class Display {
 public:
  bool show(const TrainProgress& now) {
    for (const std::string& note : now.notes) print(note);
    if (now.skipped) {
      print(fmt::format("step {}: loss {:.4f} or gradient norm {:.4g} is not finite, no update",
                        now.step, now.loss, now.gradient_norm));
    }
    if (!(now.held_out_loss < 0)) print(evaluation(now));
    if (!line_) line_.emplace("train", "steps", now.step);
    std::string note = "starting";
    if (now.tokens_per_second > 0) {
      note = fmt::format("loss {:.3f}, lr {:.2e}, {} tokens/s", now.loss, now.learning_rate,
                         format_amount(now.tokens_per_second));
    }
    if (now.step_share > 0) note += fmt::format(", {:.0f}% of the next step", 100 * now.step_share);
    line_->update(now.step, now.steps, now.tokens_per_second > 0 ? now.seconds_left : -1, note);
    return !interrupt_requested();
  }

 private:
  static std::string evaluation(const TrainProgress& now) {
    std::string text = fmt::format("step {}: held-out loss {:.4f}", now.step, now.held_out_loss);
    if (now.held_out_bits_per_byte >= 0) {
      text += fmt::format(", {:.4f} bits per byte", now.held_out_bits_per_byte);
    }
    return text + fmt::format(" (training {:.4f})", now.loss);
  }

  void print(const std::string& text) {
    if (!line_) {
      fmt::print(stderr, "{}\n", text);
    } else {
      line_->print(text);
    }
  }

  std::optional<Progress> line_;
};

void check_doors(const TrainOptions& options) {
  if (options.dry_run && options.resume.empty()) return;
  if (options.resume.empty() == options.run.empty()) {
    throw Exit{kExitBadInput, options.run.empty()
                                  ? "found neither --run nor --resume, expected one of them"
                                  : "found --run and --resume, expected one of them"};
  }
  if (options.resume.empty()) return;
  for (const auto& [name, option] : options.options) {
    if (option->count() == 0 && options.settings.empty()) continue;
    throw Exit{kExitBadInput,
               fmt::format("found {} with --resume, expected none: the settings of a run are in "
                           "its run.json",
                           option->count() > 0 ? flag_name(name) : "--settings")};
  }
}

void print_memory(const TrainConfig& config, const Device& device) {
  const std::vector<MemoryItem> items = require(train_memory(config, device));
  std::size_t all = 0;
  const auto print = [](const std::string& name, std::size_t bytes) {
    fmt::print("{:<24} {:>12.1f} MiB\n", name, static_cast<double>(bytes) / (1 << 20));
  };
  for (const MemoryItem& item : items) {
    print(item.name, item.bytes);
    all += item.bytes;
  }
  print("memory of the run", all);
  const std::optional<MemoryUse> use = require(device.backend().memory_use());
  if (!use) return;
  print("free on the GPU", use->free);
  require(check_memory(config, device));
}

void train(TrainOptions& options) {
  check_doors(options);
  const bool resumed = !options.resume.empty();
  const std::string& run = resumed ? options.resume : options.run;
  TrainConfig config;
  if (!resumed) {
    config = assemble(options);
    require(validate(config));
  } else if (options.dry_run) {
    config = require(read_train_config(RunDirectory{run}.config()));
  }
  const Device device = options.device.open();
  if (options.dry_run) {
    print_memory(config, device);
    return;
  }
  catch_interrupts();
  Result<TrainResult> result = internal_error("");
  {
    Display display;
    const auto show = [&](const TrainProgress& now) { return display.show(now); };
    result = resumed ? train_resume(run, device, show) : train_start(config, run, device, show);
  }
  const TrainResult done = require(std::move(result));
  if (!done.finished) {
    throw Exit{
        kExitInterrupted,
        fmt::format("stopped after step {}; to go on: tnl train --resume {}", done.step, run)};
  }
  fmt::print("{} steps done", done.step);
  if (done.held_out_loss >= 0) fmt::print(", held-out loss {:.4f}", done.held_out_loss);
  if (done.held_out_bits_per_byte >= 0) {
    fmt::print(", {:.4f} bits per byte", done.held_out_bits_per_byte);
  }
  fmt::print("\nmodel: {}\n", (std::filesystem::path(run) / "model").string());
}

void add_settings(CLI::App& command, TrainOptions& options) {
  visit_train_config(options.flags, [&](const char* name, auto& field, const char* help) {
    CLI::Option*& option = options.options[name];
    if constexpr (std::is_same_v<decltype(field), bool&>) {
      option = command.add_flag(flag_name(name), field, help);
    } else {
      option = command.add_option(flag_name(name), field, help);
      if constexpr (std::is_same_v<decltype(field), std::string&>) {
        if (!field.empty()) option->capture_default_str();
      } else {
        option->default_str(fmt::format("{}", field));
      }
      if constexpr (std::is_same_v<decltype(field), std::uint64_t&>) {
        option->check(seed_range());
      }
    }
    option->group("Settings");
  });
  CLI::Option* preset = options.options["preset"];
  CLI::Option* config = options.options["config"];
  CLI::Option* init = options.options["init"];
  preset->excludes(config)->excludes(init);
  config->excludes(init);
}

}  // namespace

void add_train(CLI::App& app) {
  const auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "train a model, or resume a run");
  command->add_option("--run", options->run, "new directory for checkpoints, metrics and the model")
      ->type_name("DIR");
  command->add_option("--resume", options->resume, "run to go on with, from its last checkpoint")
      ->type_name("RUN");
  command
      ->add_option("--settings", options->settings,
                   "JSON file with any of the settings below; flags win over it")
      ->type_name("FILE");
  command->add_flag("--dry-run", options->dry_run,
                    "print what the run would take of the device's memory, and end");
  options->device.add(*command);
  add_settings(*command, *options);
  command->footer(
      "The names in a settings file are those of the flags with underscores: {\"steps\": 500, "
      "\"learning_rate\": 0.002}.\nrun.json in the run's directory is such a file with every "
      "setting. Ctrl-C leaves a checkpoint; a resumed run\nrepeats the uninterrupted one bit for "
      "bit.\n\nExamples:\n"
      "  tnl train --data packed --run runs/first --steps 500\n"
      "  tnl train --data packed --run runs/second --settings first.json --learning-rate 1e-3\n"
      "  tnl train --data books --run runs/long --whole-documents --sequence-chunk 4096\n"
      "  tnl train --data packed --run runs/tuned --init runs/first/model --learning-rate 3e-4\n"
      "  tnl train --resume runs/first");
  command->callback([options] { train(*options); });
}

}  // namespace tnl::command
