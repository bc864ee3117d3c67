// Encodes batches of documents on several threads and gives them back in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "text/document_reader.h"
#include "tnl/tokenizer.h"

namespace tnl {

struct EncodedPart {
  std::int64_t tokens = 0, bytes = 0;
  bool last = false;  // of its document
};

struct EncodedBatch {
  std::vector<std::int32_t> tokens;
  std::vector<EncodedPart> parts;
  std::int64_t stored_bytes = 0;  // as RawBatch
};

struct DocumentEncoderOptions {
  std::string text_field;
  std::size_t block_bytes = 0;  // not 0: JSONL records are cut into blocks
};

Result<EncodedBatch> encode_batch(const RawBatch& raw, const Tokenizer& tokenizer,
                                  const DocumentEncoderOptions& options);

// push() and pop() are for one thread; what comes out does not depend on the number of threads.
class DocumentEncoder {
 public:
  DocumentEncoder(const Tokenizer& tokenizer, DocumentEncoderOptions options, int threads);
  ~DocumentEncoder();
  DocumentEncoder(const DocumentEncoder&) = delete;
  DocumentEncoder& operator=(const DocumentEncoder&) = delete;

  // As many batches as may be in work at once: bounds memory.
  bool full() const { return jobs_.size() >= 2 * threads_.size() + 2; }
  bool empty() const { return jobs_.empty(); }
  void push(RawBatch batch);
  // The oldest batch, once it is done.
  Result<EncodedBatch> pop();

 private:
  struct Job {
    RawBatch raw;
    std::unique_ptr<Result<EncodedBatch>> result;
  };
  void work();

  const Tokenizer& tokenizer_;
  const DocumentEncoderOptions options_;
  std::deque<std::shared_ptr<Job>> jobs_;     // all, oldest first; of the owning thread
  std::deque<std::shared_ptr<Job>> waiting_;  // under mutex_, as is every Job::result
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tnl
