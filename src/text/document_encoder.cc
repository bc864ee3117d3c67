#include "text/document_encoder.h"

#include <fmt/format.h>

#include "core/json.h"
#include "core/printable.h"
#include "core/try.h"

namespace tnl {
namespace {

Status add_part(std::string_view text, bool first, bool last, const Tokenizer& tokenizer,
                EncodedBatch& batch) {
  const std::size_t before = batch.tokens.size();
  TNL_TRY(tokenizer.encode_part(text, first, batch.tokens));
  batch.parts.push_back({static_cast<std::int64_t>(batch.tokens.size() - before),
                         static_cast<std::int64_t>(text.size()), last});
  return {};
}

Status add_document(std::string_view text, const Tokenizer& tokenizer, std::size_t block_bytes,
                    EncodedBatch& batch) {
  if (block_bytes == 0) return add_part(text, true, true, tokenizer, batch);
  bool first = true;
  do {
    const std::size_t end = block_end(text, block_bytes, false);
    TNL_TRY(add_part(text.substr(0, end), first, end == text.size(), tokenizer, batch));
    text.remove_prefix(end);
    first = false;
  } while (!text.empty());
  return {};
}

// The text of one JSON Lines record.
Result<std::string> record_text(std::string_view line, const std::string& field,
                                const RawBatch& raw, std::int64_t number) {
  const auto wrong = [&](const std::string& what) {
    return invalid_argument(fmt::format("{}, line {}: {}", raw.file->path.string(), number, what));
  };
  const auto json = parse_json(line);
  if (json.is_discarded()) return wrong("not valid JSON");
  if (!json.is_object()) {
    return wrong(fmt::format("found a JSON {}, expected an object", json.type_name()));
  }
  const auto found = json.find(field);
  if (found == json.end())
    return wrong(fmt::format("the object has no field \"{}\"", printable(field)));
  if (!found->is_string()) {
    return wrong(fmt::format("field \"{}\" is a {}, expected a string", field, found->type_name()));
  }
  return found->get<std::string>();
}

}  // namespace

Result<EncodedBatch> encode_batch(const RawBatch& raw, const Tokenizer& tokenizer,
                                  const DocumentEncoderOptions& options) {
  EncodedBatch batch;
  batch.stored_bytes = raw.stored_bytes;
  const std::string_view data = raw.data;
  for (const TextPart& part : raw.parts) {
    TNL_TRY(add_part(data.substr(part.begin, part.end - part.begin), part.first, part.last,
                     tokenizer, batch));
  }
  if (!raw.file->records) return batch;
  std::int64_t number = raw.first_line;
  for (std::size_t at = 0; at < data.size(); ++number) {
    const std::size_t end = std::min(data.find('\n', at), data.size());
    const std::string_view line = data.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    TNL_ASSIGN(const std::string text, record_text(line, options.text_field, raw, number));
    TNL_TRY(add_document(text, tokenizer, options.block_bytes, batch));
  }
  return batch;
}

DocumentEncoder::DocumentEncoder(const Tokenizer& tokenizer, DocumentEncoderOptions options,
                                 int threads)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

DocumentEncoder::~DocumentEncoder() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void DocumentEncoder::push(RawBatch batch) {
  auto job = std::make_shared<Job>();
  job->raw = std::move(batch);
  jobs_.push_back(job);
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  wake_.notify_one();
}

Result<EncodedBatch> DocumentEncoder::pop() {
  const std::shared_ptr<Job> job = std::move(jobs_.front());
  jobs_.pop_front();
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return job->result != nullptr; });
  return std::move(*job->result);
}

void DocumentEncoder::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const std::shared_ptr<Job> job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    auto result =
        std::make_unique<Result<EncodedBatch>>(encode_batch(job->raw, tokenizer_, options_));
    lock.lock();
    job->result = std::move(result);
    done_.notify_one();
  }
}

}  // namespace tnl
