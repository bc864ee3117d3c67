// Packed token shards and the order in which training reads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tnl/status.h"

namespace tnl {

// A directory written by `tnl data pack`: index.json, shards of token ids with document boundaries
// (train-*.bin, heldout-*.bin) and the tokenizer's files.
class Dataset {
 public:
  enum class Split { kTrain, kHeldOut };
  static Result<Dataset> open(const std::filesystem::path& directory);

  std::int64_t vocab_size() const;
  std::int64_t tokens(Split split) const;
  std::int64_t documents(Split split) const;
  std::int64_t bytes(Split split) const;    // of the text before encoding
  std::filesystem::path tokenizer() const;  // for load_tokenizer
  std::string fingerprint() const;          // changes when the content does

  // Token ids of a document, eos included where the packing added it; valid while this lives.
  Result<std::vector<std::int32_t>> document(Split split, std::int64_t index) const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  explicit Dataset(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// A batch in the form of model/execution.h, owning its memory.
struct DataBatch {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> targets;  // next token of the same document; -1 at its last token
  std::vector<std::int64_t> cu_seqlens;
};

struct LoaderOptions {
  Dataset::Split split = Dataset::Split::kTrain;
  std::int64_t sequence_length = 512;  // longest piece of a document in one sequence
  std::int64_t batch_tokens = 4096;    // every batch has exactly so many (the last of a pass fewer,
                                       // where `once` is set)
  std::uint64_t seed = 1;
  bool once = false;  // stop after one pass in file order; else endless, shuffled
};

// Cuts documents into sequences of at most sequence_length, in an order drawn anew for each pass
// from (seed, pass), and packs them: sequences shorter than the length share a batch row with the
// next one. A prefetch thread keeps the next batch ready.
class DataLoader {
 public:
  static Result<DataLoader> create(const Dataset& dataset, const LoaderOptions& options);
  ~DataLoader();
  DataLoader(DataLoader&&) noexcept;
  DataLoader& operator=(DataLoader&&) noexcept;

  // False at the end of a `once` pass.
  Result<bool> next(DataBatch& batch);
  // Where next() will read: a few integers as text. seek() to it repeats the batches exactly.
  std::string position() const;
  Status seek(const std::string& position);

 private:
  struct Impl;
  explicit DataLoader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct PackOptions {
  std::vector<std::string> inputs;  // files, folders or globs: .txt .md .rst ... .jsonl, + .zst .gz
  std::filesystem::path output;
  std::filesystem::path tokenizer;  // for load_tokenizer
  std::string document_separator;   // splits plain text files; empty: a file is a document
  std::string text_field = "text";  // of JSONL records
  double held_out = 0.01;           // share of the documents, chosen by a hash of seed and number
  std::uint64_t seed = 1;
  bool append_eos = true;
  std::int64_t shard_tokens = std::int64_t{1} << 27;
  int threads = 0;
};

struct PackProgress {
  std::int64_t bytes_done = 0, bytes_total = 0;  // of the input files as stored
  std::int64_t documents = 0, tokens = 0;
};

// Returns false from `progress` to stop. Nothing is left behind by a run that failed.
Status pack_dataset(const PackOptions& options,
                    const std::function<bool(const PackProgress&)>& progress);

}  // namespace tnl
