// The order of training: every token once a pass, exact resume, targets.
#include <set>

#include "pack_support.h"
#include "text/permutation.h"

namespace tnl::test {
namespace {

// Documents of these many bytes, each spelling its place: byte i of document d is unique enough to
// check targets.
Dataset documents(const test::TemporaryDirectory& dir, const std::vector<std::int64_t>& lengths) {
  std::string records;
  for (std::size_t d = 0; d < lengths.size(); ++d) {
    std::string text;
    for (std::int64_t i = 0; i < lengths[d]; ++i) {
      text += static_cast<char>('!' + (i * 7 + static_cast<std::int64_t>(d) * 13) % 90);
    }
    records += nlohmann::json({{"text", text}}).dump() + "\n";
  }
  write(dir / "a.jsonl", records);
  PackOptions options = pack_options(dir, {"a.jsonl"});
  options.append_eos = false;
  options.shard_tokens = 200;
  return pack(options);
}

std::vector<std::int64_t> random_lengths(std::uint64_t seed, int count, int most) {
  Rng rng(seed);
  std::vector<std::int64_t> lengths;
  for (int i = 0; i < count; ++i) lengths.push_back(1 + static_cast<std::int64_t>(rng.below(most)));
  return lengths;
}

DataLoader loader(const Dataset& dataset, LoaderOptions options) {
  return value(DataLoader::create(dataset, options));
}

DataBatch next(DataLoader& loader) {
  DataBatch batch;
  EXPECT_TRUE(value(loader.next(batch)));
  return batch;
}

void expect_equal(const DataBatch& a, const DataBatch& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.targets, b.targets);
  EXPECT_EQ(a.cu_seqlens, b.cu_seqlens);
}

void expect_well_formed(const DataBatch& batch, const LoaderOptions& options) {
  EXPECT_EQ(batch.tokens.size(), batch.targets.size());
  EXPECT_EQ(batch.cu_seqlens.front(), 0);
  EXPECT_EQ(batch.cu_seqlens.back(), static_cast<std::int64_t>(batch.tokens.size()));
  for (std::size_t n = 0; n + 1 < batch.cu_seqlens.size(); ++n) {
    const std::int64_t begin = batch.cu_seqlens[n], end = batch.cu_seqlens[n + 1];
    EXPECT_LT(begin, end);
    EXPECT_LE(end - begin, options.sequence_length);
    for (std::int64_t i = begin; i + 1 < end; ++i) EXPECT_EQ(batch.targets[i], batch.tokens[i + 1]);
  }
}

// (token, target) of every position of every document, sorted.
using Pairs = std::vector<std::pair<std::int32_t, std::int32_t>>;
Pairs all_pairs(const Dataset& dataset) {
  Pairs pairs;
  for (std::int64_t d = 0; d < dataset.documents(Split::kTrain); ++d) {
    const auto ids = value(dataset.document(Split::kTrain, d));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      pairs.emplace_back(ids[i], i + 1 < ids.size() ? ids[i + 1] : -1);
    }
  }
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

TEST(Loader, HandMadeBatches) {
  const test::TemporaryDirectory dir;
  write(dir / "a.jsonl", "{\"text\": \"abcde\"}\n{\"text\": \"x\"}\n{\"text\": \"yz\"}\n");
  PackOptions pack_these = pack_options(dir, {"a.jsonl"});
  pack_these.append_eos = false;
  const Dataset dataset = pack(pack_these);
  DataLoader reader = loader(dataset, {.sequence_length = 3, .batch_tokens = 4, .once = true});
  DataBatch batch = next(reader);
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{'a', 'b', 'c', 'd'}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{'b', 'c', 'd', 'e'}));
  EXPECT_EQ(batch.cu_seqlens, (std::vector<std::int64_t>{0, 3, 4}));
  batch = next(reader);
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{'e', 'x', 'y', 'z'}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{-1, -1, 'z', -1}));
  EXPECT_EQ(batch.cu_seqlens, (std::vector<std::int64_t>{0, 1, 2, 4}));
  EXPECT_FALSE(value(reader.next(batch)));
  EXPECT_FALSE(value(reader.next(batch)));
}

TEST(Loader, OnePassInFileOrderYieldsEverything) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, random_lengths(1, 50, 40));
  const LoaderOptions options{.sequence_length = 9, .batch_tokens = 64, .once = true};
  DataLoader reader = loader(dataset, options);
  std::vector<std::int32_t> seen, expected;
  DataBatch batch;
  while (value(reader.next(batch))) {
    expect_well_formed(batch, options);
    seen.insert(seen.end(), batch.tokens.begin(), batch.tokens.end());
  }
  for (std::int64_t d = 0; d < dataset.documents(Split::kTrain); ++d) {
    const auto ids = value(dataset.document(Split::kTrain, d));
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(seen, expected);
}

TEST(Loader, EachPassYieldsEveryTokenAndTargetOnce) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, random_lengths(2, 60, 50));
  const Pairs expected = all_pairs(dataset);
  for (const std::int64_t batch_tokens : {1, 7, 64, 1000}) {
    const LoaderOptions options{.sequence_length = 16, .batch_tokens = batch_tokens, .seed = 3};
    DataLoader reader = loader(dataset, options);
    Pairs pairs;
    while (pairs.size() < 2 * expected.size()) {
      const DataBatch batch = next(reader);
      EXPECT_EQ(static_cast<std::int64_t>(batch.tokens.size()), batch_tokens);
      expect_well_formed(batch, options);
      for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
        pairs.emplace_back(batch.tokens[i], batch.targets[i]);
      }
    }
    Pairs first(pairs.begin(), pairs.begin() + expected.size());
    Pairs second(pairs.begin() + expected.size(), pairs.begin() + 2 * expected.size());
    EXPECT_NE(first, second);  // another order
    std::sort(first.begin(), first.end());
    std::sort(second.begin(), second.end());
    EXPECT_EQ(first, expected);
    EXPECT_EQ(second, expected);
  }
}

TEST(Loader, WholeDocumentsAreNeverCut) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, random_lengths(11, 40, 300));
  const Pairs expected = all_pairs(dataset);
  for (const std::int64_t batch_tokens : {1, 100, 700}) {
    DataLoader reader =
        loader(dataset, {.batch_tokens = batch_tokens, .seed = 3, .whole_documents = true});
    std::multiset<std::vector<std::int32_t>> seen, all;
    for (std::int64_t d = 0; d < dataset.documents(Split::kTrain); ++d) {
      all.insert(value(dataset.document(Split::kTrain, d)));
    }
    Pairs pairs;
    while (seen.size() < all.size()) {
      const DataBatch batch = next(reader);
      const auto size = static_cast<std::int64_t>(batch.tokens.size());
      EXPECT_GE(size, batch_tokens);
      EXPECT_LT(batch.cu_seqlens[batch.cu_seqlens.size() - 2], batch_tokens);
      for (std::size_t n = 0; n + 1 < batch.cu_seqlens.size() && seen.size() < all.size(); ++n) {
        const auto begin = batch.cu_seqlens[n], end = batch.cu_seqlens[n + 1];
        seen.emplace(batch.tokens.begin() + begin, batch.tokens.begin() + end);
        for (auto i = begin; i < end; ++i) pairs.emplace_back(batch.tokens[i], batch.targets[i]);
      }
    }
    EXPECT_EQ(seen, all);
    std::sort(pairs.begin(), pairs.end());
    EXPECT_EQ(pairs, expected);
  }
}

TEST(Loader, ABatchCanBeReadInPieces) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, random_lengths(12, 40, 60));
  Rng rng(4);
  for (const bool whole : {false, true}) {
    const LoaderOptions options{
        .sequence_length = 17, .batch_tokens = 150, .whole_documents = whole};
    DataLoader outlines = loader(dataset, options);
    DataLoader batches = loader(dataset, options);
    for (int i = 0; i < 20; ++i) {
      BatchOutline outline;
      ASSERT_TRUE(value(outlines.next(outline)));
      const DataBatch batch = next(batches);
      EXPECT_EQ(outlines.position(), batches.position());
      EXPECT_EQ(outline.cu_seqlens, batch.cu_seqlens);
      EXPECT_EQ(outline.targets, std::count_if(batch.targets.begin(), batch.targets.end(),
                                               [](std::int32_t target) { return target >= 0; }));
      const std::int64_t tokens = outline.tokens();
      for (int sample = 0; sample < 10; ++sample) {
        const auto begin = static_cast<std::int64_t>(rng.below(tokens));
        const auto end = begin + 1 + static_cast<std::int64_t>(rng.below(tokens - begin));
        DataBatch piece;
        expect_ok(outlines.read(outline, begin, end, piece));
        const auto part = [&](const std::vector<std::int32_t>& all) {
          return std::vector<std::int32_t>(all.begin() + begin, all.begin() + end);
        };
        EXPECT_EQ(piece.tokens, part(batch.tokens));
        EXPECT_EQ(piece.targets, part(batch.targets));
        EXPECT_EQ(piece.cu_seqlens.back(), end - begin);
        for (const std::int64_t cut : batch.cu_seqlens) {
          if (cut <= begin || cut >= end) continue;
          EXPECT_EQ(std::count(piece.cu_seqlens.begin(), piece.cu_seqlens.end(), cut - begin), 1);
        }
      }
    }
  }
}

TEST(Loader, TheSeedSettlesTheOrder) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, random_lengths(4, 40, 50));
  const auto tokens = [&](std::uint64_t seed) {
    DataLoader reader = loader(dataset, {.sequence_length = 16, .batch_tokens = 500, .seed = seed});
    return next(reader).tokens;
  };
  EXPECT_EQ(tokens(1), tokens(1));
  EXPECT_NE(tokens(1), tokens(2));
}

TEST(Loader, ResumesExactlyAtAnyPlace) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, random_lengths(5, 30, 60));
  Rng rng(8);
  for (const auto& [once, whole] :
       {std::pair(false, false), std::pair(true, false), std::pair(false, true)}) {
    const LoaderOptions options{.sequence_length = 11,
                                .batch_tokens = 37,
                                .seed = 2,
                                .once = once,
                                .whole_documents = whole};
    DataLoader reader = loader(dataset, options);
    std::vector<DataBatch> batches;
    std::vector<std::string> positions;
    DataBatch batch;
    for (int i = 0; i < 60; ++i) {
      positions.push_back(reader.position());
      if (!value(reader.next(batch))) break;
      batches.push_back(batch);
    }
    for (int round = 0; round < 40; ++round) {
      const auto at = rng.below(batches.size());
      DataLoader other = loader(dataset, options);
      for (std::uint64_t skip = rng.below(3); skip > 0; --skip) next(other);
      expect_ok(other.seek(positions[at]));
      EXPECT_EQ(other.position(), positions[at]);
      for (auto i = at; i < std::min(at + 3, batches.size()); ++i) {
        expect_equal(next(other), batches[i]);
      }
    }
  }
}

TEST(Loader, AnotherBatchSizeContinuesAtTheSameToken) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, random_lengths(6, 30, 60));
  DataLoader small = loader(dataset, {.sequence_length = 11, .batch_tokens = 10});
  DataLoader large = loader(dataset, {.sequence_length = 11, .batch_tokens = 30});
  next(small);
  expect_ok(large.seek(small.position()));
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < 3; ++i) {
    const auto more = next(small).tokens;
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  EXPECT_EQ(next(large).tokens, tokens);
}

TEST(Loader, WrongPositionsAreRefusedAndChangeNothing) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, random_lengths(7, 30, 60));
  const LoaderOptions options{.sequence_length = 11, .batch_tokens = 20};
  DataLoader reader = loader(dataset, options);
  const std::string start = reader.position();
  const std::string print = start.substr(start.rfind(' '));
  for (const std::string& bad : {std::string(), std::string("abc"), std::string("1 2 3"),
                                 start + " 1", start + "x", "99999999999999999999 0 0" + print}) {
    expect_refused(reader.seek(bad), "expected four integers");
  }
  for (const std::string& bad : {"-1 0 0" + print, "0 -1 0" + print, "0 0 11" + print,
                                 "0 100000 0" + print, "0 0 -1" + print}) {
    expect_refused(reader.seek(bad), "out of range");
  }
  for (const LoaderOptions& other :
       {LoaderOptions{.sequence_length = 12, .batch_tokens = 20},
        LoaderOptions{.sequence_length = 11, .batch_tokens = 20, .seed = 9},
        LoaderOptions{.sequence_length = 11, .batch_tokens = 20, .once = true},
        LoaderOptions{.sequence_length = 11, .batch_tokens = 20, .whole_documents = true}}) {
    expect_refused(loader(dataset, other).seek(start), "was taken with other data");
  }
  EXPECT_EQ(reader.position(), start);
  DataLoader fresh = loader(dataset, options);
  expect_equal(next(reader), next(fresh));
}

TEST(Loader, TinyDataSets) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, {1});
  DataLoader reader = loader(dataset, {.sequence_length = 4, .batch_tokens = 5});
  const DataBatch batch = next(reader);
  EXPECT_EQ(batch.tokens, std::vector<std::int32_t>(5, '!'));
  EXPECT_EQ(batch.targets, std::vector<std::int32_t>(5, -1));
  EXPECT_EQ(batch.cu_seqlens, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
}

TEST(Loader, BadOptionsAreRefused) {
  const test::TemporaryDirectory dir;
  const Dataset dataset = documents(dir, {5});
  expect_refused(DataLoader::create(dataset, {.split = Split::kHeldOut}).status(), "heldout split");
  expect_refused(DataLoader::create(dataset, {.sequence_length = 0}).status(), "sequences of 0");
  expect_refused(DataLoader::create(dataset, {.batch_tokens = -1}).status(), "batches of -1");
}

TEST(Loader, DamagedTokensAreReportedAgainAndAgain) {
  const test::TemporaryDirectory dir;
  documents(dir, {50});
  const fs::path shard = dir / "packed/train-00000.bin";
  std::string bent = read(shard);
  bent[65] = '\x7f';
  write(shard, bent);
  DataLoader reader = loader(value(Dataset::open(dir / "packed")),
                             {.sequence_length = 50, .batch_tokens = 50, .once = true});
  DataBatch batch;
  expect_refused(reader.next(batch).status(), "outside of the vocabulary");
  expect_refused(reader.next(batch).status(), "outside of the vocabulary");
}

TEST(Loader, MovesAndOutlivesTheDataset) {
  const test::TemporaryDirectory dir;
  std::optional<Dataset> dataset = documents(dir, random_lengths(9, 10, 30));
  DataLoader a = loader(*dataset, {.sequence_length = 8, .batch_tokens = 16});
  DataLoader b = loader(*dataset, {.sequence_length = 8, .batch_tokens = 32});
  dataset.reset();
  b = std::move(a);
  EXPECT_EQ(next(b).tokens.size(), 16u);
  EXPECT_EQ(next(b).tokens.size(), 16u);
}

TEST(Permutation, IsOne) {
  for (const std::uint64_t n : {1u, 2u, 3u, 5u, 64u, 65u, 1000u}) {
    const Permutation order(n, n * 17);
    std::vector<int> seen(n);
    for (std::uint64_t i = 0; i < n; ++i) ++seen.at(order(i));
    EXPECT_EQ(seen, std::vector<int>(n, 1)) << n;
  }
}

// Each place holds each value about equally often.
TEST(Permutation, IsFair) {
  constexpr int kKeys = 20000, kSize = 5;
  int counts[kSize][kSize] = {};
  for (int key = 0; key < kKeys; ++key) {
    const Permutation order(kSize, mix64(key));
    for (int i = 0; i < kSize; ++i) ++counts[i][order(i)];
  }
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, kKeys / kSize, 250);
  }
}

}  // namespace
}  // namespace tnl::test
