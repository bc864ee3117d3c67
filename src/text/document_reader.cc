#include "text/document_reader.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/try.h"

namespace tnl {
namespace {

constexpr std::size_t kBinaryProbe = std::size_t{1} << 16;

bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0u) == 0x80u;
}

}  // namespace

std::size_t block_end(std::string_view text, std::size_t bytes, bool more_to_come) {
  if (!more_to_come && text.size() <= bytes) return text.size();
  const std::string_view window = text.substr(0, 2 * bytes);
  if (const std::size_t line = window.find('\n', bytes - 1); line != std::string_view::npos) {
    return line + 1;
  }
  if (text.size() < 2 * bytes) return more_to_come ? 0 : text.size();
  if (const std::size_t space = window.find(' ', bytes); space != std::string_view::npos) {
    return space;
  }
  std::size_t end = window.size();
  for (int back = 0; back < 3 && end > 1 && end < text.size() && continues_character(text[end]);
       ++back) {
    --end;
  }
  return end;
}

Result<bool> DocumentReader::next(RawBatch& batch) {
  for (;;) {
    if (file_ == nullptr) {
      if (next_file_ == files_.size()) return false;
      TNL_TRY(open_next());
      TNL_ASSIGN(const bool binary, is_binary());
      if (binary) continue;
    }
    batch.data.clear();
    batch.parts.clear();
    batch.file = input_;
    for (std::size_t target = options_.batch_bytes; batch.data.empty(); target *= 2) {
      if (buffer_.size() > options_.longest_part) return too_long();
      TNL_TRY(fill(target));
      if (input_->records) {
        take_lines(batch);
      } else {
        take_parts(batch);
      }
      if (at_end_) break;
    }
    batch.stored_bytes = finished_bytes_ + file_->stored_bytes();
    if (at_end_ && buffer_.empty()) {
      finished_bytes_ += input_->stored_bytes;
      file_.reset();
    }
    if (!batch.data.empty() || !batch.parts.empty()) return true;
  }
}

Status DocumentReader::open_next() {
  input_ = &files_[next_file_++];
  TNL_ASSIGN(file_, CompressedFile::open(input_->path));
  buffer_.clear();
  at_end_ = inside_document_ = after_separator_ = false;
  next_line_ = 1;
  return {};
}

Status DocumentReader::fill(std::size_t target) {
  if (at_end_ || buffer_.size() >= target) return {};
  const std::size_t had = buffer_.size();
  buffer_.resize(target);
  TNL_ASSIGN(const std::size_t count, file_->read(buffer_.data() + had, target - had));
  buffer_.resize(had + count);
  at_end_ = had + count < target;
  return {};
}

Result<bool> DocumentReader::is_binary() {
  TNL_TRY(fill(kBinaryProbe));
  if (input_->records || buffer_.find('\0') == std::string::npos) return false;
  if (!input_->from_folder) {
    return invalid_argument(
        fmt::format("{} is not text: it holds a NUL byte", input_->path.string()));
  }
  ++skipped_;
  finished_bytes_ += input_->stored_bytes;
  file_.reset();
  return true;
}

Status DocumentReader::too_long() const {
  const std::string where = input_->records ? fmt::format(", line {}", next_line_) : std::string();
  return invalid_argument(fmt::format(
      "{}{}: found more than {} bytes without {}, expected shorter ones", input_->path.string(),
      where, options_.longest_part, input_->records ? "a line end" : "a place to cut"));
}

void DocumentReader::take_lines(RawBatch& batch) {
  const std::size_t last = buffer_.rfind('\n');
  const std::size_t end = at_end_ ? buffer_.size() : last == std::string::npos ? 0 : last + 1;
  if (end == 0) return;
  batch.first_line = next_line_;
  batch.data = buffer_.substr(0, end);
  buffer_.erase(0, end);
  next_line_ += std::count(batch.data.begin(), batch.data.end(), '\n');
}

std::size_t DocumentReader::find_separator(std::size_t begin) const {
  return options_.separator.empty() ? std::string::npos : buffer_.find(options_.separator, begin);
}

// The end of the part that begins at `begin` of a document that goes on to the end of the buffer
// and perhaps beyond it; `begin` where that cannot be told yet.
std::size_t DocumentReader::part_end(std::size_t begin) const {
  std::string_view rest = std::string_view(buffer_).substr(begin);
  // A separator may have begun in the last bytes.
  if (!at_end_) {
    const std::size_t kept = options_.separator.empty() ? 0 : options_.separator.size() - 1;
    rest.remove_suffix(std::min(kept, rest.size()));
  }
  if (options_.block_bytes > 0) return begin + block_end(rest, options_.block_bytes, !at_end_);
  return at_end_ ? buffer_.size() : begin + options_.last_cut(rest);
}

void DocumentReader::take_parts(RawBatch& batch) {
  std::size_t begin = 0, found = find_separator(0);
  const auto add = [&](std::size_t end, bool last) {
    batch.parts.push_back({begin, end, !inside_document_, last});
    inside_document_ = !last;
    begin = end;
  };
  while (begin < buffer_.size() || (at_end_ && inside_document_)) {
    if (after_separator_) {
      after_separator_ = false;
      if (buffer_[begin] == '\n') {
        ++begin;
        continue;
      }
    }
    const bool whole = found != std::string::npos;
    const std::size_t limit = whole ? found : buffer_.size();
    if (options_.block_bytes > 0 && whole) {
      const std::string_view rest = std::string_view(buffer_).substr(begin, limit - begin);
      const std::size_t end = begin + block_end(rest, options_.block_bytes, false);
      add(end, end == limit);
    } else {
      const std::size_t end = whole ? limit : part_end(begin);
      if (!whole && end == begin && !at_end_) break;
      add(end, whole || (at_end_ && end == limit));
    }
    if (whole && begin == found) {
      begin += options_.separator.size();
      after_separator_ = true;
      found = find_separator(begin);
    }
  }
  batch.data = buffer_.substr(0, begin);
  buffer_.erase(0, begin);
}

}  // namespace tnl
