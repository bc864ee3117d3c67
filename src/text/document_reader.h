// Reads input files as a sequence of batches that can be encoded apart.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/compressed_file.h"
#include "text/inputs.h"

namespace tnl {

// A stretch of one document, in the data of its batch.
struct TextPart {
  std::size_t begin = 0, end = 0;
  bool first = false, last = false;  // of its document
};

struct RawBatch {
  std::string data;
  const InputFile* file = nullptr;
  std::int64_t stored_bytes = 0;  // of all input files, up to the end of this batch
  // Text: the parts. JSON Lines: none; data is whole lines, the first of which has this number.
  std::vector<TextPart> parts;
  std::int64_t first_line = 1;
};

// The end of the block of about `bytes` that `text` begins with: after the first line end from
// there on; where none comes within as many bytes again, before a space, else between two
// characters. 0: `text` is too short to tell, and more is to come.
std::size_t block_end(std::string_view text, std::size_t bytes, bool more_to_come);

struct DocumentReaderOptions {
  std::string separator;
  std::size_t batch_bytes = std::size_t{1} << 20;
  // Where long documents may be cut into parts; as Tokenizer::last_cut.
  std::function<std::size_t(std::string_view)> last_cut;
  // Not 0: parts are blocks of about so many bytes, in place of last_cut.
  std::size_t block_bytes = 0;
  // A line of records, or a stretch of text without a place to cut, may not be longer. Where
  // compressed, a few bytes can hold any number of them.
  std::size_t longest_part = std::size_t{1} << 30;
};

class DocumentReader {
 public:
  DocumentReader(const std::vector<InputFile>& files, DocumentReaderOptions options)
      : files_(files), options_(std::move(options)) {}

  // False at the end of the last file.
  Result<bool> next(RawBatch& batch);
  std::int64_t skipped_files() const { return skipped_; }

 private:
  Status open_next();
  Status fill(std::size_t target);
  Result<bool> is_binary();
  void take_lines(RawBatch& batch);
  void take_parts(RawBatch& batch);
  std::size_t find_separator(std::size_t begin) const;
  std::size_t part_end(std::size_t begin) const;
  Status too_long() const;

  const std::vector<InputFile>& files_;
  const DocumentReaderOptions options_;
  std::size_t next_file_ = 0;
  std::unique_ptr<CompressedFile> file_;
  const InputFile* input_ = nullptr;
  std::string buffer_;            // read and not yet handed out
  bool at_end_ = false;           // the file has no more than the buffer
  bool inside_document_ = false;  // a part of the document at the buffer's start was handed out
  bool after_separator_ = false;  // the buffer begins behind one
  std::int64_t next_line_ = 1;
  std::int64_t finished_bytes_ = 0, skipped_ = 0;
};

}  // namespace tnl
