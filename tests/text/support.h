// What the tests of this room share: a temporary directory and a small GPT-2 vocabulary.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/rng.h"
#include "text/dataset.h"
#include "tnl/tokenizer.h"

namespace tnl::test {

namespace fs = std::filesystem;

class TempDir {
 public:
  TempDir() {
    std::string name = (fs::temp_directory_path() / "tnl-text-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { fs::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  fs::path operator/(std::string_view name) const { return path_ / name; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline void write(const fs::path& path, std::string_view content) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string read(const fs::path& path) {
  std::stringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

// GPT-2's spelling of one byte.
inline std::string spell(int byte) {
  const auto utf8 = [](int code) {
    return code < 0x80 ? std::string(1, static_cast<char>(code))
                       : std::string{static_cast<char>(0xc0 | code >> 6),
                                     static_cast<char>(0x80 | (code & 0x3f))};
  };
  int next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const int code = printable ? b : next++;
    if (b == byte) return utf8(code);
  }
  return {};
}

inline std::string spell(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += spell(static_cast<unsigned char>(c));
  return text;
}

struct Gpt2Files {
  nlohmann::json vocabulary;
  std::string merges = "#version: 0.2\n";

  // The bytes as ids 0 to 255.
  Gpt2Files() {
    for (int byte = 0; byte < 256; ++byte) vocabulary[spell(byte)] = byte;
  }
  void merge(std::string_view left, std::string_view right) {
    const auto id = vocabulary.size();
    vocabulary.emplace(spell(std::string(left) + std::string(right)), id);
    merges += spell(left) + " " + spell(right) + "\n";
  }
  void save(const fs::path& directory) const {
    write(directory / "vocab.json", vocabulary.dump());
    write(directory / "merges.txt", merges);
  }
};

// Ids: 256 "he", 257 "ll", 258 "hell", 259 "hello", 260 " w", 261 "or", 262 " wor", 263 "ld",
// 264 " world", 265 "\n\n", 266 "  ", 267 "é", 268 <|endoftext|>.
inline Gpt2Files small_gpt2() {
  Gpt2Files files;
  files.merge("h", "e");
  files.merge("l", "l");
  files.merge("he", "ll");
  files.merge("hell", "o");
  files.merge(" ", "w");
  files.merge("o", "r");
  files.merge(" w", "or");
  files.merge("l", "d");
  files.merge(" wor", "ld");
  files.merge("\n", "\n");
  files.merge(" ", " ");
  files.merge("\xc3", "\xa9");
  files.vocabulary["<|endoftext|>"] = files.vocabulary.size();
  return files;
}

template <class T>
T value(Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status().message();
  return std::move(result).value();
}

inline void expect_ok(const Status& status) {
  EXPECT_TRUE(status.ok()) << status.message();
}

// The call failed, as the fault of the input, with a sentence that holds `words`.
inline void expect_refused(const Status& status, std::string_view words) {
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(status.code() == StatusCode::kInvalidArgument ||
              status.code() == StatusCode::kNotFound);
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

inline std::vector<std::int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> ids;
  expect_ok(tokenizer.encode(text, ids));
  return ids;
}

// Words, spaces, newlines, punctuation, other scripts and invalid bytes.
inline std::string random_text(Rng& rng, std::size_t bytes) {
  static const char* const kPieces[] = {"hello",
                                        "world",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\n\n",
                                        "\t",
                                        "'s",
                                        "'ll",
                                        "12",
                                        "!",
                                        "?!",
                                        "\xc3\xa9",
                                        "\xe4\xbd\xa0\xe5\xa5\xbd",
                                        "\xf0\x9f\xa6\x99",
                                        "\xff",
                                        "\xe2\x96",
                                        "\xe2\x96\x81",
                                        "\xc2\xa0",
                                        "the",
                                        " of",
                                        "a",
                                        "Z",
                                        "<s>",
                                        "<|endoftext|>",
                                        "\r\n",
                                        "."};
  std::string text;
  while (text.size() < bytes) text += kPieces[rng.below(std::size(kPieces))];
  return text;
}

}  // namespace tnl::test
