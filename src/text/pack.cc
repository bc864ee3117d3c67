// Packing text into a data set.
#include <cmath>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "core/file.h"
#include "core/try.h"
#include "text/dataset_index.h"
#include "text/document_encoder.h"
#include "text/held_out.h"
#include "text/output_directory.h"
#include "text/shard.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

Status check(const PackOptions& options) {
  if (!(options.held_out >= 0 && options.held_out < 1)) {
    return invalid_argument(
        fmt::format("held-out share {}, expected at least 0 and less than 1", options.held_out));
  }
  if (options.shard_tokens < 1 || options.threads < 0 || options.threads > 1024) {
    return invalid_argument(fmt::format(
        "{} tokens a shard on {} threads, expected at least 1 token and 0 to 1024 threads",
        options.shard_tokens, options.threads));
  }
  if (options.output.empty()) return invalid_argument("no output directory");
  std::error_code error;
  if (fs::exists(options.output, error) &&
      !(fs::is_directory(options.output, error) && fs::is_empty(options.output, error))) {
    return invalid_argument(fmt::format("{} exists: expected a new or empty output directory",
                                        options.output.string()));
  }
  return {};
}

// The shards of one split.
class SplitWriter {
 public:
  SplitWriter(fs::path directory, const char* name, std::int64_t vocab_size,
              std::int64_t shard_tokens)
      : directory_(std::move(directory)),
        name_(name),
        vocab_size_(vocab_size),
        shard_tokens_(shard_tokens) {}

  Status append(std::span<const std::int32_t> tokens, std::int64_t bytes) {
    if (!shard_) {
      file_ = fmt::format("{}-{:05}.bin", name_, index_.shards.size());
      TNL_ASSIGN(ShardWriter created, ShardWriter::create(directory_ / file_, vocab_size_));
      shard_.emplace(std::move(created));
    }
    index_.tokens += static_cast<std::int64_t>(tokens.size());
    index_.bytes += bytes;
    return shard_->append(tokens);
  }
  Status end_document() {
    ++index_.documents;
    shard_->end_document();
    return shard_->tokens() >= shard_tokens_ ? finish_shard() : Status();
  }
  Result<SplitIndex> finish() {
    if (shard_) TNL_TRY(finish_shard());
    return std::move(index_);
  }
  const SplitIndex& index() const { return index_; }

 private:
  Status finish_shard() {
    TNL_ASSIGN(const ShardHeader header, shard_->finish());
    shard_.reset();
    std::error_code error;
    const auto bytes = static_cast<std::int64_t>(fs::file_size(directory_ / file_, error));
    index_.shards.push_back({file_, static_cast<std::int64_t>(header.tokens),
                             static_cast<std::int64_t>(header.documents), bytes, header.checksum});
    return {};
  }

  fs::path directory_;
  const char* name_;
  std::int64_t vocab_size_, shard_tokens_;
  std::string file_;  // of the open shard
  std::optional<ShardWriter> shard_;
  SplitIndex index_;
};

// Gives each part of the text to its split.
class Divider {
 public:
  Divider(const fs::path& directory, const HeldOutPlan& plan, const Tokenizer& tokenizer,
          const PackOptions& options)
      : plan_(plan), eos_(options.append_eos ? tokenizer.eos_id() : -1) {
    for (const char* name : kSplitNames) {
      writers_.emplace_back(directory, name, tokenizer.vocab_size(), options.shard_tokens);
    }
  }

  Status add(const EncodedBatch& batch) {
    std::span<const std::int32_t> rest = batch.tokens;
    for (const EncodedPart& part : batch.parts) {
      const auto count = static_cast<std::size_t>(part.tokens);
      if (part.bytes > 0) TNL_TRY(add_text(rest.first(count), part.bytes));
      if (part.last) TNL_TRY(end_text());
      rest = rest.subspan(count);
    }
    return {};
  }

  std::int64_t documents() const {
    return writers_[0].index().documents + writers_[1].index().documents;
  }
  std::int64_t tokens() const { return writers_[0].index().tokens + writers_[1].index().tokens; }

  Status finish(std::array<SplitIndex, 2>& splits) {
    for (std::size_t i = 0; i < 2; ++i) {
      TNL_ASSIGN(splits[i], writers_[i].finish());
    }
    return {};
  }

 private:
  SplitWriter& writer(Dataset::Split split) { return writers_[static_cast<std::size_t>(split)]; }

  Status add_text(std::span<const std::int32_t> tokens, std::int64_t bytes) {
    const bool draw = !open_ || plan_.block_bytes > 0;
    const Dataset::Split split = draw ? plan_.split(drawn_++) : *open_;
    if (open_ && *open_ != split) TNL_TRY(writer(*open_).end_document());
    open_ = split;
    return writer(split).append(tokens, bytes);
  }
  Status end_text() {
    if (!open_) return {};  // it was empty
    SplitWriter& last = writer(*open_);
    open_.reset();
    if (eos_ >= 0) TNL_TRY(last.append({&eos_, 1}, 0));
    return last.end_document();
  }

  const HeldOutPlan plan_;
  const std::int32_t eos_;
  std::vector<SplitWriter> writers_;    // by Split
  std::optional<Dataset::Split> open_;  // where the document in work goes
  std::int64_t drawn_ = 0;
};

using Progress = std::function<bool(const PackProgress&)>;

Status encode_all(const std::vector<InputFile>& files, const Tokenizer& tokenizer,
                  const PackOptions& options, const HeldOutPlan& plan, Divider& divider,
                  const Progress& progress) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  DocumentReader reader(
      files, {.separator = options.document_separator,
              .batch_bytes = std::max<std::size_t>(std::size_t{1} << 20, 4 * plan.block_bytes),
              .last_cut = [&](std::string_view text) { return tokenizer.last_cut(text); },
              .block_bytes = plan.block_bytes});
  DocumentEncoder encoder(tokenizer, {options.text_field, plan.block_bytes},
                          options.threads > 0 ? options.threads : cores);
  PackProgress state;
  for (const InputFile& file : files) state.bytes_total += file.stored_bytes;
  for (bool more = true; more || !encoder.empty();) {
    while (more && !encoder.full()) {
      RawBatch raw;
      TNL_ASSIGN(more, reader.next(raw));
      if (more) encoder.push(std::move(raw));
    }
    if (encoder.empty()) break;
    TNL_ASSIGN(const EncodedBatch batch, encoder.pop());
    TNL_TRY(divider.add(batch));
    state.bytes_done = batch.stored_bytes;
    state.documents = divider.documents();
    state.tokens = divider.tokens();
    state.skipped_files = reader.skipped_files();
    if (progress && !progress(state)) return interrupted("packing was interrupted");
  }
  state.bytes_done = state.bytes_total;
  state.skipped_files = reader.skipped_files();
  if (progress && !progress(state)) return interrupted("packing was interrupted");
  return {};
}

Status check_splits(const DatasetIndex& index, double share) {
  const SplitIndex& train = index.splits[0];
  const SplitIndex& held_out = index.splits[1];
  if (train.tokens + held_out.tokens == 0) {
    return invalid_argument("the input holds no text");
  }
  if (share > 0 && (train.tokens == 0 || held_out.tokens == 0)) {
    return invalid_argument(fmt::format(
        "a held-out share of {} leaves the {} split without any of the {} documents ({} bytes): "
        "give another share, hold out by block, or a share of 0 for no held-out split",
        share, train.tokens == 0 ? "train" : "held-out", train.documents + held_out.documents,
        train.bytes + held_out.bytes));
  }
  return {};
}

}  // namespace

Status pack_dataset(const PackOptions& options, const Progress& progress) {
  TNL_TRY(check(options));
  TNL_ASSIGN(const auto tokenizer, load_tokenizer(options.tokenizer));
  if (options.append_eos && tokenizer->eos_id() < 0) {
    return invalid_argument(
        fmt::format("the tokenizer {} has no end-of-text id to append to documents",
                    options.tokenizer.string()));
  }
  TNL_ASSIGN(const std::vector<InputFile> files, find_inputs(options.inputs));
  TNL_ASSIGN(const HeldOutPlan plan, plan_held_out(options, files));
  TNL_ASSIGN(OutputDirectory output, OutputDirectory::create(options.output));
  Divider divider(output.path(), plan, *tokenizer, options);
  TNL_TRY(encode_all(files, *tokenizer, options, plan, divider, progress));
  DatasetIndex index;
  index.tokenizer_kind = tokenizer->kind();
  index.vocab_size = tokenizer->vocab_size();
  TNL_TRY(divider.finish(index.splits));
  TNL_TRY(check_splits(index, options.held_out));
  TNL_TRY(tokenizer->save(output.path() / kTokenizerFolder));
  TNL_TRY(write_file(output.path() / kIndexFile, index.to_json()));
  return output.commit();
}

}  // namespace tnl
