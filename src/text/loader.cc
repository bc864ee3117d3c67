// Sequences out of documents, in a seeded order.
#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "core/checksum.h"
#include "core/try.h"
#include "text/dataset_impl.h"
#include "text/permutation.h"

namespace tnl {
namespace {

constexpr std::int64_t kWholeDocument = std::int64_t{1} << 60;   // as sequence_length
constexpr std::int64_t kMostPrefetched = std::int64_t{1} << 22;  // tokens

// A place in the endless order: token `offset` of sequence number `sequence` of pass `pass`.
struct Cursor {
  std::int64_t pass = 0, sequence = 0, offset = 0;
};

// The order of sequences, and what stands in them.
class SequenceOrder {
 public:
  static Result<SequenceOrder> create(std::shared_ptr<const Dataset::Impl> data,
                                      const LoaderOptions& options) {
    SequenceOrder order(std::move(data), options);
    const SplitIndex& split = order.data_->index.splits[static_cast<std::size_t>(options.split)];
    order.first_sequences_.reserve(static_cast<std::size_t>(split.documents) + 1);
    std::int64_t sequences = 0, tokens = 0;
    for (std::int64_t document = 0; document < split.documents; ++document) {
      order.first_sequences_.push_back(sequences);
      TNL_ASSIGN(const auto place, order.data_->find(options.split, document));
      const std::int64_t length = place.tokens.end - place.tokens.begin;
      sequences += (length + options.sequence_length - 1) / options.sequence_length;
      tokens += length;
    }
    order.first_sequences_.push_back(sequences);
    if (tokens != split.tokens) {
      return invalid_argument(
          fmt::format("{}: the documents of the shards hold {} tokens, "
                      "expected {} by {}",
                      order.data_->directory.string(), tokens, split.tokens, kIndexFile));
    }
    return order;
  }

  std::int64_t sequences() const { return first_sequences_.back(); }
  const LoaderOptions& options() const { return options_; }

  // What seek() must find again: another value means another order.
  std::uint64_t fingerprint() const {
    std::uint64_t sum = kChecksumStart;
    const auto add = [&sum](std::int64_t word) { sum = checksum(sum, &word, sizeof word); };
    add(sequences());
    add(options_.sequence_length);
    add(options_.once ? -1 : static_cast<std::int64_t>(options_.seed));
    add(static_cast<std::int64_t>(options_.split));
    for (const Dataset::Shard& shard :
         data_->index.splits[static_cast<std::size_t>(options_.split)].shards) {
      add(static_cast<std::int64_t>(shard.checksum));
    }
    return mix64(sum);
  }

  Result<Dataset::Impl::Place> find(std::int64_t document) const {
    return data_->find(options_.split, document);
  }

  struct Piece {
    std::int64_t document = 0;
    std::int64_t begin = 0, end = 0;  // tokens of the document
    bool ends = false;                // with the document
  };
  Result<Piece> at(std::int64_t pass, std::int64_t sequence) const {
    auto number = static_cast<std::uint64_t>(sequence);
    if (!options_.once) {
      const std::uint64_t key = mix64(mix64(options_.seed) + static_cast<std::uint64_t>(pass));
      number = Permutation(static_cast<std::uint64_t>(sequences()), key)(number);
    }
    const auto index = static_cast<std::int64_t>(number);
    const auto after = std::upper_bound(first_sequences_.begin(), first_sequences_.end(), index);
    const std::int64_t document = after - first_sequences_.begin() - 1;
    TNL_ASSIGN(const auto place, find(document));
    const std::int64_t length = place.tokens.end - place.tokens.begin;
    const std::int64_t begin = (index - after[-1]) * options_.sequence_length;
    const std::int64_t end = std::min(begin + options_.sequence_length, length);
    return Piece{.document = document, .begin = begin, .end = end, .ends = end == length};
  }

 private:
  SequenceOrder(std::shared_ptr<const Dataset::Impl> data, const LoaderOptions& options)
      : data_(std::move(data)), options_(options) {}

  std::shared_ptr<const Dataset::Impl> data_;
  LoaderOptions options_;
  std::vector<std::int64_t> first_sequences_;  // of each document, and their number
};

// The batch at `cursor`, which moves behind it. Empty: the end of a `once` pass.
Result<BatchOutline> make_outline(const SequenceOrder& order, Cursor& cursor) {
  const LoaderOptions& options = order.options();
  BatchOutline outline;
  for (std::int64_t room = options.batch_tokens; room > 0;) {
    if (cursor.sequence == order.sequences()) {
      if (options.once) break;
      cursor = {cursor.pass + 1, 0, 0};
    }
    TNL_ASSIGN(const SequenceOrder::Piece piece, order.at(cursor.pass, cursor.sequence));
    const std::int64_t begin = piece.begin + cursor.offset;
    const std::int64_t left = piece.end - begin;
    const std::int64_t count = options.whole_documents ? left : std::min(room, left);
    if (count <= 0) return invalid_argument("the data position lies behind the end of a sequence");
    const bool ends = piece.ends && count == left;
    outline.pieces.push_back({.document = piece.document, .begin = begin, .ends = ends});
    outline.cu_seqlens.push_back(outline.tokens() + count);
    outline.targets += count - (ends ? 1 : 0);
    room -= count;
    cursor.offset += count;
    if (count == left) cursor = {cursor.pass, cursor.sequence + 1, 0};
  }
  return outline;
}

void prefetch(const SequenceOrder& order, const BatchOutline& outline) {
  std::int64_t room = kMostPrefetched;
  for (std::size_t n = 0; n < outline.pieces.size() && room > 0; ++n) {
    const auto place = order.find(outline.pieces[n].document);
    if (!place.ok()) return;  // read() will say so
    const std::int64_t begin = place->tokens.begin + outline.pieces[n].begin;
    const std::int64_t count = outline.cu_seqlens[n + 1] - outline.cu_seqlens[n];
    place->shard->prefetch(begin, begin + std::min(count, room));
    room -= count;
  }
}

}  // namespace

struct DataLoader::Impl {
  explicit Impl(SequenceOrder sequences) : order(std::move(sequences)) {}

  const SequenceOrder order;
  Cursor cursor;  // of the next batch
};

DataLoader::DataLoader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DataLoader::~DataLoader() = default;
DataLoader::DataLoader(DataLoader&&) noexcept = default;
DataLoader& DataLoader::operator=(DataLoader&&) noexcept = default;

Result<DataLoader> DataLoader::create(const Dataset& dataset, const LoaderOptions& options) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  if (options.sequence_length < 1 || options.batch_tokens < 1 || options.sequence_length > kMost ||
      options.batch_tokens > kMost) {
    return invalid_argument(
        fmt::format("sequences of {} tokens in batches of {}, expected 1 to 2^40 each",
                    options.sequence_length, options.batch_tokens));
  }
  if (dataset.tokens(options.split) == 0) {
    return invalid_argument(fmt::format("the {} split of {} holds no tokens",
                                        kSplitNames[static_cast<std::size_t>(options.split)],
                                        dataset.impl().directory.string()));
  }
  LoaderOptions chosen = options;
  if (options.whole_documents) chosen.sequence_length = kWholeDocument;
  TNL_ASSIGN(SequenceOrder order, SequenceOrder::create(dataset.share(), chosen));
  return DataLoader(std::make_unique<Impl>(std::move(order)));
}

Result<bool> DataLoader::next(BatchOutline& outline) {
  Cursor cursor = impl_->cursor;  // stays where it is after an error
  TNL_ASSIGN(outline, make_outline(impl_->order, cursor));
  impl_->cursor = cursor;
  if (const auto ahead = make_outline(impl_->order, cursor); ahead.ok()) {
    prefetch(impl_->order, *ahead);
  }
  return outline.tokens() > 0;
}

Status DataLoader::read(const BatchOutline& outline, std::int64_t begin, std::int64_t end,
                        DataBatch& batch) const {
  batch.tokens.clear();
  batch.targets.clear();
  batch.cu_seqlens.assign(1, 0);
  const auto& offsets = outline.cu_seqlens;
  auto n = static_cast<std::size_t>(std::upper_bound(offsets.begin(), offsets.end(), begin) -
                                    offsets.begin()) -
           1;
  for (std::int64_t next = begin; next < end; ++n) {
    const BatchOutline::Piece& piece = outline.pieces[n];
    TNL_ASSIGN(const auto place, impl_->order.find(piece.document));
    const std::int64_t count = std::min(end, offsets[n + 1]) - next;
    const std::int64_t first = place.tokens.begin + piece.begin + next - offsets[n];
    const bool at_end = piece.ends && next + count == offsets[n + 1];
    TNL_TRY(place.shard->read(first, first + count, batch.tokens));
    TNL_TRY(place.shard->read(first + 1, first + count + (at_end ? 0 : 1), batch.targets));
    if (at_end) batch.targets.push_back(-1);
    next += count;
    batch.cu_seqlens.push_back(next - begin);
  }
  return {};
}

Result<bool> DataLoader::next(DataBatch& batch) {
  const Cursor before = impl_->cursor;
  BatchOutline outline;
  TNL_ASSIGN(const bool more, next(outline));
  const Status status = read(outline, 0, outline.tokens(), batch);
  if (!status.ok()) impl_->cursor = before;
  TNL_TRY(status);
  return more;
}

std::string DataLoader::position() const {
  const Cursor& cursor = impl_->cursor;
  return fmt::format("{} {} {} {}", cursor.pass, cursor.sequence, cursor.offset,
                     impl_->order.fingerprint());
}

Status DataLoader::seek(const std::string& position) {
  Cursor cursor;
  std::uint64_t fingerprint = 0;
  const char* next = position.data();
  const char* end = next + position.size();
  const auto number = [&](auto& value) {
    while (next != end && *next == ' ') ++next;
    const auto [rest, error] = std::from_chars(next, end, value);
    next = rest;
    return error == std::errc();
  };
  if (!number(cursor.pass) || !number(cursor.sequence) || !number(cursor.offset) ||
      !number(fingerprint) || next != end) {
    return invalid_argument(fmt::format("data position \"{}\", expected four integers", position));
  }
  if (fingerprint != impl_->order.fingerprint()) {
    return invalid_argument(
        fmt::format("data position \"{}\" was taken with other data, another sequence length or "
                    "another seed",
                    position));
  }
  if (cursor.pass < 0 || cursor.pass > (std::int64_t{1} << 62) || cursor.sequence < 0 ||
      cursor.sequence > impl_->order.sequences() || cursor.offset < 0 ||
      cursor.offset >= impl_->order.options().sequence_length) {
    return invalid_argument(fmt::format("data position \"{}\" is out of range", position));
  }
  impl_->cursor = cursor;
  return {};
}

}  // namespace tnl
