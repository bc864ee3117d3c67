// tnl data: pack text into a data set, and look into one.
#include <cstdio>
#include <map>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "text/dataset.h"
#include "tnl/cli.h"
#include "tnl/commands.h"
#include "tnl/progress.h"
#include "tnl/tokenizer.h"

namespace tnl::command {
namespace {

using Split = Dataset::Split;

const std::map<std::string, Split> kSplits = {{"train", Split::kTrain},
                                              {"heldout", Split::kHeldOut}};
const std::map<std::string, HeldOutBy> kHeldOutBy = {
    {"auto", HeldOutBy::kAuto}, {"document", HeldOutBy::kDocument}, {"block", HeldOutBy::kBlock}};

struct ShowOptions {
  std::string directory;
  std::int64_t document = 0;
  std::string split = "train";
  bool ids = false, json = false, verify = false;
};

void print_split(const Dataset& dataset, const std::string& name) {
  const Split split = kSplits.at(name);
  const auto tokens = dataset.tokens(split);
  fmt::print("{:<12} {:>14}  {:>10}  {:>15}  {:>12}\n", name, tokens, dataset.documents(split),
             dataset.bytes(split),
             tokens == 0 ? std::string("-")
                         : fmt::format("{:.3f}", static_cast<double>(dataset.bytes(split)) /
                                                     static_cast<double>(tokens)));
}

void print_table(const Dataset& dataset) {
  fmt::print("{:<12} {:>14}  {:>10}  {:>15}  {:>12}\n", "split", "tokens", "documents",
             "bytes of text", "bytes/token");
  print_split(dataset, "train");
  print_split(dataset, "heldout");
  fmt::print("tokenizer    {}, {} ids\nfingerprint  {}\n", dataset.tokenizer_kind(),
             dataset.vocab_size(), dataset.fingerprint());
}

nlohmann::ordered_json as_json(const Dataset& dataset) {
  nlohmann::ordered_json json = {
      {"tokenizer", {{"kind", dataset.tokenizer_kind()}, {"vocab_size", dataset.vocab_size()}}},
      {"fingerprint", dataset.fingerprint()}};
  for (const char* name : {"train", "heldout"}) {
    const Split split = kSplits.at(name);
    json["splits"][name] = {{"tokens", dataset.tokens(split)},
                            {"documents", dataset.documents(split)},
                            {"bytes", dataset.bytes(split)},
                            {"shards", dataset.shards(split).size()}};
  }
  return json;
}

void pack(const PackOptions& options) {
  catch_interrupts();
  std::int64_t skipped = 0;
  {
    Progress progress("pack", "B");
    require(pack_dataset(options, [&](const PackProgress& state) {
      progress.update(state.bytes_done, state.bytes_total,
                      fmt::format("{} documents, {} tokens", state.documents,
                                  format_amount(static_cast<double>(state.tokens))));
      skipped = state.skipped_files;
      return !interrupt_requested();
    }));
  }
  if (skipped > 0) fmt::print("skipped {} binary files\n", skipped);
  print_table(require(Dataset::open(options.output)));
}

void info(const ShowOptions& options) {
  const Dataset dataset = require(Dataset::open(options.directory));
  if (options.verify) require(dataset.verify());
  if (options.json) {
    fmt::print("{}\n", as_json(dataset).dump(1));
    return;
  }
  print_table(dataset);
  for (const char* name : {"train", "heldout"}) {
    for (const Dataset::Shard& shard : dataset.shards(kSplits.at(name))) {
      fmt::print("{:<20} {} tokens, {} documents, {}, checksum {:016x}{}\n", shard.file,
                 shard.tokens, shard.documents,
                 format_amount(static_cast<double>(shard.bytes), "B"), shard.checksum,
                 options.verify ? ", verified" : "");
    }
  }
}

void show(const ShowOptions& options) {
  const Dataset dataset = require(Dataset::open(options.directory));
  const auto ids = require(dataset.document(kSplits.at(options.split), options.document));
  std::string text;
  if (options.ids) {
    for (const std::int32_t id : ids) {
      if (!text.empty()) text += ' ';
      text += std::to_string(id);
    }
    text += '\n';
  } else {
    text = require(require(load_tokenizer(dataset.tokenizer()))->decode(ids));
  }
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    require(io_error("cannot write to stdout"));
  }
}

void add_pack(CLI::App& parent) {
  CLI::App* command = parent.add_subcommand("pack", "encode text into a directory for tnl train");
  const auto options = std::make_shared<PackOptions>();
  const auto held_out_by = std::make_shared<std::string>("auto");
  command
      ->add_option(
          "inputs", options->inputs,
          "files, folders (to any depth, sorted, without hidden entries) or quoted globs;\n"
          "NAME.jsonl and .ndjson hold one JSON object a line, all else is text, one\n"
          "document a file; both may end in .gz or .zst")
      ->required();
  command->add_option("-o,--output", options->output, "a new or empty directory")->required();
  command
      ->add_option("-t,--tokenizer", options->tokenizer,
                   "a .model file, a directory with a tokenizer's files, or \"bytes\"")
      ->required();
  command->add_option("--document-separator", options->document_separator,
                      "splits text files into documents, such as '<|endoftext|>'");
  command->add_option("--text-field", options->text_field, "of the JSON objects")
      ->capture_default_str();
  command
      ->add_option("--held-out", options->held_out,
                   "share of the text that is kept from training; 0: none")
      ->capture_default_str();
  command
      ->add_option("--held-out-by", *held_out_by,
                   "what is held out: whole documents; or blocks that end at line ends, where the\n"
                   "documents are few (auto: fewer than 16 / share), as in a single text file")
      ->check(CLI::IsMember({"auto", "document", "block"}))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "of the choice of held-out text")
      ->check(seed_range())
      ->capture_default_str();
  command->add_flag("!--no-eos", options->append_eos,
                    "do not end each document with the tokenizer's end-of-text id");
  command->add_option("--shard-tokens", options->shard_tokens, "tokens a file, roughly")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "0 takes one for each core")
      ->capture_default_str();
  command->footer(
      "The result does not depend on the number of threads. Nothing is left behind when it fails\n"
      "or is interrupted.\n\nExamples:\n"
      "  tnl data pack book.txt -t tokenizer.model -o packed --held-out 0.05\n"
      "  tnl data pack 'books_*.txt.zst' --document-separator '<|endoftext|>' -t gpt2 -o packed\n"
      "  tnl data pack corpus.jsonl.gz notes/ -t bytes -o packed");
  command->callback([options, held_out_by] {
    options->held_out_by = kHeldOutBy.at(*held_out_by);
    pack(*options);
  });
}

CLI::App* add_look(CLI::App& parent, const char* name, const char* description,
                   void (*run)(const ShowOptions&), const std::shared_ptr<ShowOptions>& options) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->add_option("directory", options->directory, "what tnl data pack wrote")->required();
  command->callback([run, options] { run(*options); });
  return command;
}

}  // namespace

void add_data(CLI::App& app) {
  CLI::App* command = app.add_subcommand("data", "pack text for training; look into packed data");
  command->require_subcommand(1);
  add_pack(*command);
  auto options = std::make_shared<ShowOptions>();
  CLI::App* look = add_look(*command, "info", "print what a data set holds", info, options);
  look->add_flag("--verify", options->verify, "read everything and compare the checksums");
  look->add_flag("--json", options->json, "as JSON");
  look->footer("Example:\n  tnl data info packed --verify");
  options = std::make_shared<ShowOptions>();
  look = add_look(*command, "show", "print the text of one document", show, options);
  look->add_option("--document", options->document, "its number, from 0")->capture_default_str();
  look->add_option("--split", options->split, "train or heldout")
      ->check(CLI::IsMember({"train", "heldout"}))
      ->capture_default_str();
  look->add_flag("--ids", options->ids, "its token ids instead");
  look->footer("Example:\n  tnl data show packed --document 3 --split heldout");
  command->footer(
      "Examples:\n"
      "  tnl data pack book.txt -t tokenizer.model -o packed\n"
      "  tnl data info packed");
}

}  // namespace tnl::command
