// A session in a file: the text goes on as if it had never stopped, and nothing else is taken for
// one.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "core/checksum.h"
#include "core/rng.h"
#include "infer/table_tokenizer.h"
#include "infer/tiny_model.h"
#include "support/require.h"
#include "support/temporary_directory.h"
#include "tnl/session.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using test::take;
using testing::random_tokens;
using testing::TableTokenizer;
using testing::tiny_config;
using testing::tiny_model;

// Pieces that are parts of characters and of the stop strings below.
TableTokenizer broken_tokenizer() {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"a",        "\xe2", "\x82", "\xac", "\xc3", "\xa9", "\xf0\x9f",
                      "\x98\x80", " w",   "ab",   "b",    "c",    "",     ""};
  tokenizer.bos = 12;
  tokenizer.eos = 13;
  return tokenizer;
}

struct Text {
  std::vector<std::int32_t> ids;
  std::string text;
  StopReason reason = StopReason::kMaxTokens;
};

Text generate_some(Session& session, const Tokenizer& tokenizer, GenerateOptions options,
                   std::int64_t tokens, GenerateState* state) {
  Text made;
  options.max_tokens = tokens;
  const GenerateResult result = take(generate(
      session, tokenizer, options,
      [&](std::string_view text) {
        made.text += text;
        return true;
      },
      state));
  made.reason = result.reason;
  const auto recent = session.recent();
  made.ids.assign(recent.end() - result.tokens, recent.end());
  return made;
}

std::vector<GenerateOptions> all_options() {
  std::vector<GenerateOptions> list;
  const auto add = [&](SamplerOptions sampler, std::vector<std::string> stop, bool stop_at_eos) {
    sampler.seed = 40 + list.size();
    list.push_back({.sampler = sampler, .stop = std::move(stop), .stop_at_eos = stop_at_eos});
  };
  add({.temperature = 0}, {}, false);
  add({.temperature = 1}, {}, false);
  add({.temperature = 0.7, .top_k = 5}, {"aabb"}, false);
  add({.temperature = 1.3, .top_p = 0.9}, {"never here", "abcabc"}, true);
  add({.temperature = 0.9, .min_p = 0.2}, {"\u20ac\u20ac", "\u00e9\u00e9\u00e9"}, false);
  add({.temperature = 1, .repetition_penalty = 1.5, .penalty_window = 7}, {}, false);
  add({.temperature = 0.8,
       .top_k = 9,
       .top_p = 0.95,
       .min_p = 0.01,
       .repetition_penalty = 0.8,
       .penalty_window = 4096},
      {"\ufffd\ufffd\ufffd\ufffd"}, true);
  return list;
}

class SessionFileOn : public ::testing::TestWithParam<std::tuple<const char*, Generation>> {};

INSTANTIATE_TEST_SUITE_P(All, SessionFileOn,
                         ::testing::Combine(::testing::Values("cpu", "reference"),
                                            ::testing::Values(Generation::kTnl, Generation::kTnl3)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) == Generation::kTnl ? "Tnl" : "Tnl3");
                         });

TEST_P(SessionFileOn, GoesOnAsIfItHadNeverStopped) {
  const test::TemporaryDirectory directory;
  const TableTokenizer tokenizer = broken_tokenizer();
  const Model model = tiny_model(tiny_config(14, std::get<1>(GetParam())), std::get<0>(GetParam()));
  const fs::path path = directory.path() / "session";
  Rng rng(3);
  std::uintmax_t file_bytes = 0;
  for (const GenerateOptions& options : all_options()) {
    SCOPED_TRACE(options.sampler.seed);
    const std::vector<std::int32_t> prompt = random_tokens(5 + rng.below(40), 12, rng.next());
    Session whole = take(Session::create(model));
    EXPECT_OK(whole.feed(prompt));
    constexpr std::int64_t kTokens = 120;
    const Text expected = generate_some(whole, tokenizer, options, kTokens, nullptr);

    Session session = take(Session::create(model));
    EXPECT_OK(session.feed(prompt));
    GenerateState state;
    Text parts;
    for (std::int64_t left = kTokens; parts.reason == StopReason::kMaxTokens && left > 0;) {
      const std::int64_t count =
          std::min<std::int64_t>(left, static_cast<std::int64_t>(rng.below(25)));
      const Text part = generate_some(session, tokenizer, options, count, &state);
      parts.ids.insert(parts.ids.end(), part.ids.begin(), part.ids.end());
      parts.text += part.text;
      parts.reason = part.reason;
      left -= count;
      EXPECT_OK(session.save(path, state));
      if (file_bytes == 0) file_bytes = fs::file_size(path);
      EXPECT_EQ(fs::file_size(path), file_bytes);  // however long the text
      state = GenerateState();
      session = take(Session::load(model, path, &state));
    }
    const std::string rest = finish_text(state);
    EXPECT_EQ(parts.ids, expected.ids);
    if (expected.reason == StopReason::kStopString && parts.reason == StopReason::kMaxTokens) {
      EXPECT_EQ((parts.text + rest).substr(0, expected.text.size()), expected.text);
    } else {
      EXPECT_EQ(parts.text + rest, expected.text);
      EXPECT_EQ(parts.reason, expected.reason);
    }
    EXPECT_EQ(session.position(), whole.position());
    EXPECT_TRUE(std::equal(session.logits().begin(), session.logits().end(), whole.logits().begin(),
                           whole.logits().end()));
  }
}

// Long enough for recent() to be cut, with prompts between the parts.
TEST(SessionFile, KeepsTheTailOfALongText) {
  const test::TemporaryDirectory directory;
  const Model model = tiny_model(tiny_config(61));
  const fs::path path = directory.path() / "session";
  Session whole = take(Session::create(model));
  Session parts = take(Session::create(model));
  Rng rng(5);
  for (const std::size_t count : {1, 3000, 20, 2500, 4096}) {
    const std::vector<std::int32_t> tokens = random_tokens(count, 61, rng.next());
    EXPECT_OK(whole.feed(tokens));
    EXPECT_OK(parts.feed(tokens));
    EXPECT_OK(parts.save(path));
    parts = take(Session::load(model, path));
    EXPECT_EQ(parts.position(), whole.position());
    EXPECT_TRUE(std::equal(parts.recent().begin(), parts.recent().end(), whole.recent().begin(),
                           whole.recent().end()));
    EXPECT_TRUE(std::equal(parts.logits().begin(), parts.logits().end(), whole.logits().begin()));
  }
}

TEST(SessionFile, AnEmptySessionIsOneToo) {
  const test::TemporaryDirectory directory;
  const Model model = tiny_model(tiny_config(61));
  EXPECT_OK(take(Session::create(model)).save(directory.path() / "s"));
  const Session session = take(Session::load(model, directory.path() / "s"));
  EXPECT_EQ(session.position(), 0);
  EXPECT_TRUE(session.logits().empty());
}

TEST(SessionFile, CopiesAreBranches) {
  const test::TemporaryDirectory directory;
  const TableTokenizer tokenizer = broken_tokenizer();
  const Model model = tiny_model(tiny_config(14));
  Session session = take(Session::create(model));
  EXPECT_OK(session.feed(random_tokens(30, 12, 1)));
  EXPECT_OK(session.save(directory.path() / "a"));
  fs::copy(directory.path() / "a", directory.path() / "b");
  const auto branch = [&](const char* name, std::uint64_t seed) {
    Session loaded = take(Session::load(model, directory.path() / name));
    return generate_some(loaded, tokenizer,
                         {.sampler = {.seed = seed}, .stop = {}, .stop_at_eos = false}, 50, nullptr)
        .ids;
  };
  EXPECT_EQ(branch("a", 1), branch("b", 1));
  EXPECT_NE(branch("a", 1), branch("b", 2));
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// With a checksum that fits.
std::string sealed(std::string bytes) {
  const std::uint64_t sum = checksum(kChecksumStart, bytes.data(), bytes.size() - 8);
  std::memcpy(bytes.data() + bytes.size() - 8, &sum, 8);
  return bytes;
}

class BadSessionFile : public ::testing::Test {
 protected:
  BadSessionFile() {
    Session session = take(Session::create(model));
    EXPECT_OK(session.feed(random_tokens(30, 61, 1)));
    EXPECT_OK(session.save(path));
    good = read(path);
  }
  void expect_refused(const std::string& bytes, const std::string& sentence,
                      const Model& with) const {
    std::ofstream(path, std::ios::binary) << bytes;
    const auto loaded = Session::load(with, path);
    ASSERT_FALSE(loaded.ok()) << sentence;
    EXPECT_EQ(loaded.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(loaded.status().message().find(sentence), std::string::npos)
        << loaded.status().message();
    EXPECT_EQ(loaded.status().message().rfind(path.string(), 0), 0u) << loaded.status().message();
  }
  void expect_refused(const std::string& bytes, const std::string& sentence) const {
    expect_refused(bytes, sentence, model);
  }

  test::TemporaryDirectory directory;
  fs::path path = directory.path() / "session";
  Model model = tiny_model(tiny_config(61));
  std::string good;
};

TEST_F(BadSessionFile, IsNamed) {
  EXPECT_EQ(Session::load(model, directory.path() / "none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Session::load(model, directory.path()).status().code(), StatusCode::kInvalidArgument);
  expect_refused("", "found no saved session");
  expect_refused("{\"text\": 1}", "found no saved session");
  expect_refused(good.substr(0, 100), "found no saved session");
  for (const std::size_t size : {std::size_t{128}, std::size_t{1000}, good.size() - 1}) {
    expect_refused(good.substr(0, size), "found " + std::to_string(size) + " bytes");
  }
  expect_refused(good + "more", "bytes");
  std::string bytes = good;
  bytes[8] = 9;
  expect_refused(bytes, "format version 9, expected 1");
  // Any byte behind magic and version.
  Rng rng(1);
  for (int i = 0; i < 200; ++i) {
    bytes = good;
    bytes[12 + rng.below(bytes.size() - 12)] ^= static_cast<char>(1 << rng.below(8));
    expect_refused(bytes, "expected");
  }
  expect_refused(good, "found a session of model", tiny_model(tiny_config(62)));
  Model other = tiny_model(tiny_config(61));
  static_cast<float*>(other.parameters()[3].view.data)[7] += 1e-3f;
  expect_refused(good, "found a session of model", other);
  ModelConfig slopes = tiny_config(61);
  slopes.slopes = SlopeSchedule::kPaperLinear;
  expect_refused(good, "found a session of model", tiny_model(slopes));
}

// What no checksum stops.
TEST_F(BadSessionFile, MayBeMadeOnPurpose) {
  const auto changed = [&](std::size_t offset, auto value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + offset, &value, sizeof value);
    return sealed(bytes);
  };
  expect_refused(changed(32, std::int64_t{-1}), "out of range");
  expect_refused(changed(32, std::int64_t{31}), "out of range");  // 30 recent tokens
  expect_refused(changed(84, std::uint32_t{4000000000}), "out of range");
  expect_refused(changed(88, std::uint32_t{4097}), "out of range");
  expect_refused(changed(92, std::uint32_t{9}), "out of range");
  expect_refused(changed(128, std::int32_t{61}), "found token 61");
  expect_refused(changed(132, std::int32_t{-1}), "found token -1");
  expect_refused(changed(good.size() - 16, std::numeric_limits<float>::quiet_NaN()), "not finite");
  expect_refused(changed(12, std::uint32_t{77}), "states of type 77");
  std::string shorter = good.substr(0, good.size() - 8);
  const std::uint64_t size = shorter.size();
  std::memcpy(shorter.data() + 16, &size, 8);
  expect_refused(sealed(shorter), "saved on another kind of device");
}

TEST_F(BadSessionFile, OfAnotherDeviceIsNamed) {
  const Model reference = tiny_model(tiny_config(61), "reference");
  expect_refused(good, "found a session of model", reference);  // f64 parameters
}

TEST(SessionFile, StopStringsHaveALimit) {
  GenerateOptions options;
  options.stop = {std::string(GenerateState::kMostHeld, 'x')};
  EXPECT_OK(validate(options));
  options.stop = {std::string(GenerateState::kMostHeld + 1, 'x')};
  EXPECT_EQ(validate(options).message(), "stop string 1 has 4097 bytes, expected at most 4096");
}

TEST(SessionFile, AFailedSaveLeavesTheOldFile) {
  const test::TemporaryDirectory directory;
  const Model model = tiny_model(tiny_config(61));
  Session session = take(Session::create(model));
  EXPECT_OK(session.feed(random_tokens(3, 61, 1)));
  const Status status = session.save(directory.path() / "missing" / "s");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  GenerateState broken;
  broken.held.assign(GenerateState::kMostHeld + 1, 'x');
  EXPECT_OK(session.save(directory.path() / "s"));
  const std::string before = read(directory.path() / "s");
  EXPECT_FALSE(session.save(directory.path() / "s", broken).ok());
  EXPECT_EQ(read(directory.path() / "s"), before);
}

}  // namespace
}  // namespace tnl
