// Input files of tnl data pack. The first byte picks what the rest is: text, JSON Lines, gzip,
// zstd, and how it is divided.
#include "text/document_reader.h"

#include <zlib.h>

#include "fuzz/support.h"
#include "text/document_encoder.h"

namespace tnl::fuzz {
namespace {

constexpr const char* kNames[] = {"a.txt", "a.jsonl",      "a.gz",  "a.jsonl.gz",
                                  "a.zst", "a.ndjson.zst", "b.txt", "c.txt"};
constexpr std::size_t kMost = std::size_t{1} << 22;  // a few bytes can hold gigabytes of zeros

// Every part of every document, one behind the other, with \1 where a document ends.
struct Documents {
  Status status;
  std::string text;
  std::int64_t tokens = 0;
};

Documents read_all(const std::vector<InputFile>& files, const DocumentReaderOptions& options) {
  static const auto tokenizer = std::move(load_tokenizer("bytes")).value();
  DocumentReader reader(files, options);
  Documents all;
  for (RawBatch batch; all.text.size() < kMost;) {
    const auto more = reader.next(batch);
    if (!more.ok()) all.status = more.status();
    if (!more.ok() || !*more) return all;
    std::size_t at = 0;
    for (const TextPart& part : batch.parts) {
      FUZZ_CHECK(part.begin >= at && part.begin <= part.end && part.end <= batch.data.size());
      at = part.end;
      all.text += batch.data.substr(part.begin, part.end - part.begin);
      if (part.last) all.text += '\1';
    }
    const auto encoded = encode_batch(batch, *tokenizer, {"text", options.block_bytes});
    if (!encoded.ok()) all.status = encoded.status();
    if (!encoded.ok()) return all;
    std::int64_t bytes = 0;
    for (const EncodedPart& part : encoded->parts) bytes += part.bytes;
    FUZZ_CHECK(bytes == static_cast<std::int64_t>(encoded->tokens.size()));
    all.tokens += bytes;
    if (batch.file->records) all.text += std::string(static_cast<std::size_t>(bytes), '.');
  }
  return all;
}

void write_gzip(const fs::path& path, std::string_view text) {
  const gzFile file = ::gzopen(path.c_str(), "wb1");
  FUZZ_CHECK(file != nullptr);
  FUZZ_CHECK(::gzwrite(file, text.data(), static_cast<unsigned>(text.size())) ==
             static_cast<int>(text.size()));
  FUZZ_CHECK(::gzclose(file) == Z_OK);
}

void read(std::string_view input) {
  if (input.empty()) return;
  const auto choice = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  const std::string name = kNames[choice % 8];
  const bool records = name.find("json") != std::string::npos;
  DocumentReaderOptions options;
  options.separator = (choice & 8) != 0 ? "<>" : "";
  options.block_bytes = (choice & 16) != 0 ? 5 : 0;
  options.batch_bytes = (choice & 32) != 0 ? 7 : 1 << 12;
  options.last_cut = [](std::string_view text) {
    const std::size_t space = text.rfind(' ');
    return space == std::string_view::npos ? 0 : space;
  };
  const fs::path path = workplace().write(name, input);
  const std::vector<InputFile> files = {
      {path, static_cast<std::int64_t>(input.size()), records, false}};
  // The window of a zstd frame is up to 128 MiB, whatever its length.
  const AllocationLimit limit(input.size() + kMost, std::size_t{1} << 28);
  const Documents whole = read_all(files, options);
  if (!whole.status.ok()) return check_sentence(whole.status);
  if (name.find("txt") == std::string::npos) return;
  if (options.separator.empty() && input.find('\0') == std::string_view::npos) {
    std::string expected(input);
    if (!input.empty()) expected += '\1';
    FUZZ_CHECK(whole.text == expected);
  }
  // Compressed, the same comes out.
  write_gzip(workplace().path("same.gz"), input);
  const std::vector<InputFile> packed = {{workplace().path("same.gz"), 1, false, false}};
  const Documents other = read_all(packed, options);
  FUZZ_CHECK(other.status.ok() && other.text == whole.text);
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
