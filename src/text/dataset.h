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

// A directory written by pack_dataset: index.json, shards of token ids with document boundaries
// (train-*.bin, heldout-*.bin) and the tokenizer's files (tokenizer/). Shards are memory-mapped.
class Dataset {
 public:
  enum class Split { kTrain, kHeldOut };
  struct Shard {
    std::string file;
    std::int64_t tokens = 0, documents = 0, bytes = 0;  // bytes of the file
    std::uint64_t checksum = 0;
  };

  // Checks the index, the headers and the sizes of all files, not the tokens: see verify().
  static Result<Dataset> open(const std::filesystem::path& directory);

  std::int64_t vocab_size() const;
  std::int64_t tokens(Split split) const;
  std::int64_t documents(Split split) const;
  std::int64_t bytes(Split split) const;    // of the text before encoding
  std::filesystem::path tokenizer() const;  // for load_tokenizer
  std::string tokenizer_kind() const;
  std::string fingerprint() const;  // changes when the content does
  const std::vector<Shard>& shards(Split split) const;

  // Token ids of a document, eos included where the packing added it.
  Result<std::vector<std::int32_t>> document(Split split, std::int64_t index) const;

  // Reads everything once: the checksums of all shards, document boundaries and ids.
  Status verify() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }
  const std::shared_ptr<const Impl>& share() const { return impl_; }

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

// A batch whose tokens are still in the shards: a few bytes for each of its sequences.
struct BatchOutline {
  struct Piece {
    std::int64_t document = 0, begin = 0;  // first token, counted in the document
    bool ends = false;                     // with the document: its last token has no target
  };
  std::vector<Piece> pieces;
  std::vector<std::int64_t> cu_seqlens = {0};
  std::int64_t targets = 0;  // tokens with a target

  std::int64_t tokens() const { return cu_seqlens.back(); }
};

struct LoaderOptions {
  Dataset::Split split = Dataset::Split::kTrain;
  std::int64_t sequence_length = 512;  // longest piece of a document in one sequence
  std::int64_t batch_tokens = 4096;    // every batch has exactly so many (the last of a `once` pass
                                       // what is left)
  std::uint64_t seed = 1;
  bool once = false;  // stop after one pass in file order; else endless, shuffled
  // Every sequence is a whole document, however long; sequence_length does not count. A batch takes
  // documents until it has at least batch_tokens.
  bool whole_documents = false;
};

// A document of n tokens is cut into the sequences [0, L), [L, 2L), ... , L = sequence_length; the
// last one is shorter. A pass takes every sequence once, in an order drawn anew from (seed, pass),
// and lays them one behind the other into batches. A sequence that the end of a batch cuts goes on
// as the first sequence of the next batch. So each pass yields every token exactly once, and as its
// target the token that follows it in the document, also where that one begins another sequence or
// batch. With whole_documents nothing is cut. A pass may end, and the next begin, inside of a
// batch. The system is asked to have the next batch's tokens in memory. For one thread at a time.
class DataLoader {
 public:
  // An error where the split is empty or an option is not positive.
  static Result<DataLoader> create(const Dataset& dataset, const LoaderOptions& options);
  ~DataLoader();
  DataLoader(DataLoader&&) noexcept;
  DataLoader& operator=(DataLoader&&) noexcept;

  // False at the end of a `once` pass.
  Result<bool> next(BatchOutline& outline);
  // Tokens [begin, end) of an outline, as a batch of what its sequences have there.
  Status read(const BatchOutline& outline, std::int64_t begin, std::int64_t end,
              DataBatch& batch) const;
  // Both: a batch with all its tokens.
  Result<bool> next(DataBatch& batch);
  // Where next() will read: a few integers as text. seek() to it repeats the batches exactly, in
  // another process too; it refuses a position that was taken with other data, sequence_length,
  // whole_documents, or order (seed, once). Another batch_tokens is fine.
  std::string position() const;
  Status seek(const std::string& position);

 private:
  struct Impl;
  explicit DataLoader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// How text is divided between training and the held-out split.
enum class HeldOutBy {
  kAuto,      // by document where the input has at least 16 / share of them, else by block
  kDocument,  // each document is drawn by a hash of (seed, number)
  kBlock,  // documents are cut at line ends into blocks; of each 1 / share blocks in a row one is
           // drawn. Neighbouring blocks of one split stay one document.
};

struct PackOptions {
  // Files, folders and globs (* ? [], not across folders), in this order; what a folder or glob
  // finds is sorted by path, folders are walked to any depth without hidden entries, and a file
  // found twice is taken once. NAME.jsonl and .ndjson hold one JSON object a line, all else is text
  // of any encoding, one document a file; either may end in .gz or .zst. Text with a NUL byte in
  // its first 64 KiB is binary: an error, or skipped where a folder brought it.
  std::vector<std::string> inputs;
  std::filesystem::path output;     // a new or empty directory
  std::filesystem::path tokenizer;  // for load_tokenizer
  std::string document_separator;  // splits text files; it and a newline right after it are dropped
  std::string text_field = "text";  // of JSONL records
  double held_out = 0.01;           // share of the text; 0: no held-out split
  HeldOutBy held_out_by = HeldOutBy::kAuto;
  std::uint64_t seed = 1;
  bool append_eos = true;  // after each document, not where a block ends inside of one
  std::int64_t shard_tokens = std::int64_t{1}
                              << 27;  // a shard ends with the document that gets here
  int threads = 0;                    // 0: one for each core
};

struct PackProgress {
  std::int64_t bytes_done = 0, bytes_total = 0;  // of the input files as stored
  std::int64_t documents = 0, tokens = 0;
  std::int64_t skipped_files = 0;  // binary files in folders
};

// Writes a data set; empty documents are left out. The result depends on the inputs and options,
// not on the number of threads. Returns false from `progress` to stop. Nothing is left behind by a
// run that failed: all is written to a directory beside `output`, which then takes its name.
Status pack_dataset(const PackOptions& options,
                    const std::function<bool(const PackProgress&)>& progress);

}  // namespace tnl
