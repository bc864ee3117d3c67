// Sequences out of documents, in a seeded order, with the next batch made ahead.
#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "core/try.h"
#include "text/checksum.h"
#include "text/dataset_impl.h"
#include "text/permutation.h"

namespace tnl {
namespace {

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

  struct Piece {
    Dataset::Impl::Place place;       // its document
    std::int64_t begin = 0, end = 0;  // tokens of the document
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
    Piece piece;
    TNL_ASSIGN(piece.place, data_->find(options_.split, document));
    piece.begin = (index - after[-1]) * options_.sequence_length;
    piece.end = std::min(piece.begin + options_.sequence_length,
                         piece.place.tokens.end - piece.place.tokens.begin);
    return piece;
  }

 private:
  SequenceOrder(std::shared_ptr<const Dataset::Impl> data, const LoaderOptions& options)
      : data_(std::move(data)), options_(options) {}

  std::shared_ptr<const Dataset::Impl> data_;
  LoaderOptions options_;
  std::vector<std::int64_t> first_sequences_;  // of each document, and their number
};

// Appends tokens [begin, begin + count) of the document with their targets.
Status append(const Dataset::Impl::Place& place, std::int64_t begin, std::int64_t count,
              DataBatch& batch) {
  const std::int64_t first = place.tokens.begin + begin;
  const bool at_end = first + count == place.tokens.end;
  TNL_TRY(place.shard->read(first, first + count, batch.tokens));
  TNL_TRY(place.shard->read(first + 1, first + count + (at_end ? 0 : 1), batch.targets));
  if (at_end) batch.targets.push_back(-1);
  batch.cu_seqlens.push_back(static_cast<std::int64_t>(batch.tokens.size()));
  return {};
}

// The batch at `cursor`, which moves behind it. Empty: the end of a `once` pass.
Result<DataBatch> make_batch(const SequenceOrder& order, Cursor& cursor) {
  const LoaderOptions& options = order.options();
  DataBatch batch;
  batch.cu_seqlens.push_back(0);
  for (std::int64_t room = options.batch_tokens; room > 0;) {
    if (cursor.sequence == order.sequences()) {
      if (options.once) break;
      cursor = {cursor.pass + 1, 0, 0};
    }
    TNL_ASSIGN(const SequenceOrder::Piece piece, order.at(cursor.pass, cursor.sequence));
    const std::int64_t begin = piece.begin + cursor.offset;
    const std::int64_t count = std::min(room, piece.end - begin);
    if (count <= 0) return invalid_argument("the data position lies behind the end of a sequence");
    TNL_TRY(append(piece.place, begin, count, batch));
    room -= count;
    cursor.offset += count;
    if (begin + count == piece.end) cursor = {cursor.pass, cursor.sequence + 1, 0};
  }
  return batch;
}

}  // namespace

struct DataLoader::Impl {
  explicit Impl(SequenceOrder sequences) : order(std::move(sequences)) {
    thread = std::thread([this] { prefetch(); });
    request();
  }
  ~Impl() {
    {
      std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    thread.join();
  }

  struct Ready {
    Result<DataBatch> batch;
    Cursor after;
  };

  // Asks for the batch at `cursor`.
  void request() {
    {
      std::lock_guard lock(mutex);
      wanted = cursor;
    }
    changed.notify_all();
  }
  // Waits for the batch that was asked for.
  Ready take() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return ready.has_value(); });
    Ready result = std::move(*ready);
    ready.reset();
    return result;
  }
  void prefetch() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return stopping || wanted.has_value(); });
      if (stopping) return;
      Cursor after = *wanted;
      wanted.reset();
      lock.unlock();
      Result<DataBatch> batch = make_batch(order, after);
      lock.lock();
      ready.emplace(Ready{std::move(batch), after});
      changed.notify_all();
    }
  }

  const SequenceOrder order;
  Cursor cursor;  // of the next batch; of the calling thread
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Cursor> wanted;  // exactly one of wanted, in work, and ready at a time
  std::optional<Ready> ready;
  bool stopping = false;
  std::thread thread;
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
  TNL_ASSIGN(SequenceOrder order, SequenceOrder::create(dataset.share(), options));
  return DataLoader(std::make_unique<Impl>(std::move(order)));
}

Result<bool> DataLoader::next(DataBatch& batch) {
  Impl::Ready ready = impl_->take();
  if (!ready.batch.ok()) {
    impl_->request();  // the same again: the loader stays where it is
    return ready.batch.status();
  }
  batch = std::move(*ready.batch);
  impl_->cursor = ready.after;
  impl_->request();
  return !batch.tokens.empty();
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
  (void)impl_->take();
  impl_->cursor = cursor;
  impl_->request();
  return {};
}

}  // namespace tnl
