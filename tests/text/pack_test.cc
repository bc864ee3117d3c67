// tnl data pack: inputs, documents, interruption.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "pack_support.h"
#include "text/document_reader.h"

namespace tnl::test {
namespace {

using Texts = std::vector<std::string>;

std::string gzip(const std::string& text) {
  std::string out(compressBound(text.size()) + 64, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

void expect_nothing_left(const test::TemporaryDirectory& dir) {
  for (const auto& entry : fs::directory_iterator(dir.path())) {
    EXPECT_EQ(entry.path().string().find("packed"), std::string::npos) << entry.path();
  }
}

TEST(Pack, OneFileIsOneDocumentWithEos) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", "hello\n");
  const Dataset dataset = pack(pack_options(dir, {"a.txt"}));
  EXPECT_EQ(dataset.documents(Split::kTrain), 1);
  EXPECT_EQ(dataset.documents(Split::kHeldOut), 0);
  EXPECT_EQ(dataset.tokens(Split::kTrain), 7);
  EXPECT_EQ(dataset.bytes(Split::kTrain), 6);
  EXPECT_EQ(dataset.vocab_size(), 258);
  EXPECT_EQ(dataset.tokenizer_kind(), "bytes");
  EXPECT_EQ(value(dataset.document(Split::kTrain, 0)),
            (std::vector<std::int32_t>{'h', 'e', 'l', 'l', 'o', '\n', 257}));
  expect_ok(dataset.verify());
}

TEST(Pack, EosCanBeLeftOut) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", "x");
  PackOptions options = pack_options(dir, {"a.txt"});
  options.append_eos = false;
  EXPECT_EQ(value(pack(options).document(Split::kTrain, 0)), (std::vector<std::int32_t>{'x'}));
}

TEST(Pack, FoldersAreSortedAndBinaryAndHiddenFilesAreSkipped) {
  const test::TemporaryDirectory dir;
  write(dir / "in/b/2.py", "two");
  write(dir / "in/a/1.txt", "one");
  write(dir / "in/c.md", "three");
  write(dir / "in/.git/x", "hidden");
  write(dir / "in/.hidden", "hidden");
  write(dir / "in/image.png", std::string("\x89PNG\0\0", 6));
  write(dir / "in/empty", "");
  write(dir / "in/z.jsonl", "{\"text\": \"four\"}\n");
  PackOptions options = pack_options(dir, {"in"});
  std::int64_t skipped = 0;
  expect_ok(pack_dataset(options, [&](const PackProgress& progress) {
    skipped = progress.skipped_files;
    return true;
  }));
  const Dataset dataset = value(Dataset::open(options.output));
  EXPECT_EQ(texts(dataset, Split::kTrain), (Texts{"one", "two", "three", "four"}));
  EXPECT_EQ(skipped, 1);
}

TEST(Pack, GlobsAndRepeatedInputs) {
  const test::TemporaryDirectory dir;
  write(dir / "2.txt", "two");
  write(dir / "1.txt", "one");
  write(dir / "3.md", "three");
  EXPECT_EQ(texts(pack(pack_options(dir, {"2.txt", "*.txt", "[3].md"})), Split::kTrain),
            (Texts{"two", "one", "three"}));
}

TEST(Pack, SeparatorsSplitAndLeaveEmptyDocumentsOut) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", "<|end|>one\n<|end|>\ntwo\n\n<|end|><|end|>\n<|end|> three<|en<|end|>\n");
  PackOptions options = pack_options(dir, {"a.txt"});
  options.document_separator = "<|end|>";
  const Dataset dataset = pack(options);
  EXPECT_EQ(texts(dataset, Split::kTrain), (Texts{"one\n", "two\n\n", " three<|en"}));
  EXPECT_EQ(dataset.bytes(Split::kTrain), 4 + 5 + 10);
}

TEST(Pack, CompressedFilesHoldTheSame) {
  const test::TemporaryDirectory dir;
  const std::string text = lines(5000);
  write(dir / "plain", text);
  write(dir / "a.txt.gz", gzip(text.substr(0, 999)) + gzip(text.substr(999)));
  write(dir / "b.txt.zst", zstd(text.substr(0, 777)) + zstd(text.substr(777)));
  write(dir / "c.jsonl.gz", gzip(nlohmann::json({{"text", text}}).dump()));
  EXPECT_EQ(texts(pack(pack_options(dir, {"plain", "a.txt.gz", "b.txt.zst", "c.jsonl.gz"})),
                  Split::kTrain),
            (Texts{text, text, text, text}));
}

TEST(Pack, DamagedCompressedFilesAreRefused) {
  const test::TemporaryDirectory dir;
  const std::string text = lines(2000);
  const auto refused = [&](const char* name, const std::string& content, std::string_view words) {
    write(dir / name, content);
    expect_refused(pack_dataset(pack_options(dir, {name}), nullptr), words);
    expect_nothing_left(dir);
  };
  const std::string gz = gzip(text), zst = zstd(text);
  refused("a.gz", gz.substr(0, gz.size() / 2), "truncated");
  refused("a.gz", "plain text", "damaged gzip");
  refused("a.gz", "", "truncated");
  refused("a.zst", zst.substr(0, zst.size() / 2), "truncated");
  refused("a.zst", "plain text", "damaged zstd");
  refused("a.zst", "", "truncated");
  std::string bent = gz;
  bent[bent.size() / 2] ^= 0x55;
  refused("b.gz", bent, "b.gz");
}

TEST(Pack, RecordsAreReadFromTheirField) {
  const test::TemporaryDirectory dir;
  write(dir / "a.jsonl",
        "{\"text\": \"one\\n\\u00e9\", \"id\": 1}\r\n\n{\"text\": \"\"}\n  \n{\"text\":\"two\"}");
  EXPECT_EQ(texts(pack(pack_options(dir, {"a.jsonl"})), Split::kTrain),
            (Texts{"one\n\xc3\xa9", "two"}));
  write(dir / "b.ndjson", "{\"body\": \"three\"}");
  PackOptions options = pack_options(dir, {"b.ndjson"}, "other");
  options.text_field = "body";
  EXPECT_EQ(texts(pack(options), Split::kTrain), (Texts{"three"}));
}

TEST(Pack, BadRecordsAreNamedByLine) {
  const test::TemporaryDirectory dir;
  const std::string good = "{\"text\": \"fine\"}\n";
  const auto refused = [&](const std::string& line, std::string_view words) {
    write(dir / "a.jsonl", good + "\n" + good + line);
    const Status status = pack_dataset(pack_options(dir, {"a.jsonl"}), nullptr);
    expect_refused(status, words);
    expect_refused(status, "a.jsonl, line 4");
    expect_nothing_left(dir);
  };
  refused("{\"text\": \"cut", "not valid JSON");
  refused("[1]", "found a JSON array, expected an object");
  refused("{\"body\": \"x\"}", "no field \"text\"");
  refused("{\"text\": 7}", "is a number, expected a string");
  refused("{\"text\": \"\xff\"}", "not valid JSON");
}

TEST(Pack, BadInputsAndOptionsAreRefused) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", "text");
  write(dir / "binary.txt", std::string("a\0b", 3));
  write(dir / "empty.txt", "");
  fs::create_directory(dir / "folder");
  const auto refused = [&](const PackOptions& options, std::string_view words) {
    expect_refused(pack_dataset(options, nullptr), words);
    expect_nothing_left(dir);
  };
  refused(pack_options(dir, {"nowhere.txt"}), "no input at");
  refused(pack_options(dir, {"*.rst"}), "no input at");
  refused(pack_options(dir, {}), "no input files");
  refused(pack_options(dir, {"folder"}), "no files in the folder");
  refused(pack_options(dir, {"binary.txt"}), "is not text");
  refused(pack_options(dir, {"empty.txt"}), "holds no text");
  PackOptions options = pack_options(dir, {"a.txt"});
  options.held_out = 1.5;
  refused(options, "held-out share 1.5");
  options.held_out = 0.5;
  refused(options, "leaves the");
  options = pack_options(dir, {"a.txt"});
  options.tokenizer = dir / "nowhere";
  refused(options, "no tokenizer at");
  options = pack_options(dir, {"a.txt"}, "folder");
  write(dir / "folder/file", "in the way");
  refused(options, "expected a new or empty output directory");
  EXPECT_EQ(read(dir / "folder/file"), "in the way");
}

TEST(Pack, EmptyDirectoryGivesWay) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", "text");
  fs::create_directory(dir / "packed");
  EXPECT_EQ(pack(pack_options(dir, {"a.txt"})).documents(Split::kTrain), 1);
}

TEST(Pack, InterruptionLeavesNothing) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", lines(100));
  const Status status =
      pack_dataset(pack_options(dir, {"a.txt"}), [](const PackProgress&) { return false; });
  EXPECT_EQ(status.code(), StatusCode::kInterrupted);
  expect_nothing_left(dir);
}

// The directory of a killed process has no lock any more; that of a living one has.
TEST(Pack, WhatAKilledProcessLeftIsRemoved) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", lines(100));
  fs::create_directories(dir / "packed.tmp.4711" / "tokenizer");
  write(dir / "packed.tmp.4711" / "train-00000.bin", "half");
  fs::create_directory(dir / "packed.tmp.4712");
  const int living = ::open((dir / "packed.tmp.4712").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(living, LOCK_EX), 0);
  fs::create_directory(dir / "packed-too.tmp.4711");
  pack(pack_options(dir, {"a.txt"}));
  EXPECT_FALSE(fs::exists(dir / "packed.tmp.4711"));
  EXPECT_TRUE(fs::exists(dir / "packed.tmp.4712"));
  EXPECT_TRUE(fs::exists(dir / "packed-too.tmp.4711"));
  ::close(living);
}

// Compressed, a small file can hold a line of any length.
TEST(Pack, LinesAndWordsWithoutEndAreRefused) {
  const test::TemporaryDirectory dir;
  const auto read_all = [&](const char* name, const std::string& content, bool records) {
    write(dir / name, content);
    const std::vector<InputFile> files = {{dir / name, 1, records, false}};
    DocumentReader reader(files, {.separator = "",
                                  .batch_bytes = 1 << 10,
                                  .last_cut = [](std::string_view) { return std::size_t{0}; },
                                  .longest_part = 1 << 16});
    RawBatch batch;
    for (;;) {
      const auto more = reader.next(batch);
      if (!more.ok()) return more.status();
      if (!*more) return Status();
    }
  };
  const std::string endless(1 << 20, 'x');
  expect_refused(read_all("a.jsonl.gz", gzip("{}\n" + endless), true),
                 "a.jsonl.gz, line 2: found more than 65536 bytes without a line end");
  expect_refused(read_all("a.zst", zstd(endless), false), "without a place to cut");
  expect_ok(read_all("b.zst", zstd(endless.substr(0, 1 << 15)), false));
}

TEST(Pack, ProgressEndsAtTheTotal) {
  const test::TemporaryDirectory dir;
  write(dir / "a.txt", lines(1000));
  write(dir / "b.txt.gz", gzip(lines(1000)));
  PackProgress last;
  std::int64_t before = 0;
  expect_ok(pack_dataset(pack_options(dir, {"a.txt", "b.txt.gz"}), [&](const PackProgress& now) {
    EXPECT_GE(now.bytes_done, before);
    before = now.bytes_done;
    last = now;
    return true;
  }));
  EXPECT_EQ(last.bytes_done, last.bytes_total);
  EXPECT_EQ(last.bytes_total, static_cast<std::int64_t>(fs::file_size(dir / "a.txt") +
                                                        fs::file_size(dir / "b.txt.gz")));
  EXPECT_EQ(last.documents, 2);
}

// Long documents are encoded in parts; the result is that of the whole.
TEST(Pack, LongDocumentsEqualOneEncoding) {
  const test::TemporaryDirectory dir;
  small_gpt2().save(dir / "gpt2");
  Rng rng(5);
  const std::string text = random_text(rng, 3'000'000);
  write(dir / "a.txt", text);
  PackOptions options = pack_options(dir, {"a.txt"});
  options.tokenizer = dir / "gpt2";
  options.document_separator = "<no such thing>";
  const Dataset dataset = pack(options);
  auto expected = encode(*value(load_tokenizer(dir / "gpt2")), text);
  expected.push_back(268);
  EXPECT_EQ(value(dataset.document(Split::kTrain, 0)), expected);
}

TEST(Pack, SeparatorsAcrossReadsAreFound) {
  const test::TemporaryDirectory dir;
  std::string text;
  Texts expected;
  Rng rng(6);
  while (text.size() < 3'000'000) {
    expected.push_back(std::string(1 + rng.below(3000), 'x') + "\n");
    text += expected.back() + "<|endoftext|>\n";
  }
  write(dir / "a.txt", text);
  PackOptions options = pack_options(dir, {"a.txt"});
  options.document_separator = "<|endoftext|>";
  EXPECT_EQ(texts(pack(options), Split::kTrain), expected);
}

TEST(Pack, ThreadsDoNotChangeTheResult) {
  const test::TemporaryDirectory dir;
  for (int i = 0; i < 30; ++i) write(dir / "in" / std::to_string(i), lines(2000, i));
  const auto packed = [&](int threads) {
    const std::string name = "packed" + std::to_string(threads);
    PackOptions options = pack_options(dir, {"in"}, name);
    options.threads = threads;
    options.held_out = 0.1;
    options.shard_tokens = 100'000;
    pack(options);
    return contents(options.output);
  };
  const auto one = packed(1);
  EXPECT_GT(one.size(), 10u);
  EXPECT_EQ(packed(2), one);
  EXPECT_EQ(packed(7), one);
}

TEST(Pack, ShardsHoldWholeDocuments) {
  const test::TemporaryDirectory dir;
  Texts expected;
  for (int i = 10; i < 60; ++i) {
    expected.push_back(lines(i));
    write(dir / "in" / std::to_string(i), expected.back());
  }
  PackOptions options = pack_options(dir, {"in"});
  options.shard_tokens = 3000;
  const Dataset dataset = pack(options);
  EXPECT_GT(dataset.shards(Split::kTrain).size(), 5u);
  EXPECT_EQ(texts(dataset, Split::kTrain), expected);
  expect_ok(dataset.verify());
}

}  // namespace
}  // namespace tnl::test
