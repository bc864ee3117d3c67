// Packing and reading back, for the tests of data sets.
#pragma once

#include "support.h"

namespace tnl::test {

using Split = Dataset::Split;

inline PackOptions pack_options(const test::TemporaryDirectory& dir,
                                std::vector<std::string> inputs,
                                std::string_view output = "packed") {
  PackOptions options;
  for (std::string& input : inputs) options.inputs.push_back((dir / input).string());
  options.output = dir / output;
  options.tokenizer = "bytes";
  options.held_out = 0;
  options.threads = 2;
  return options;
}

inline Dataset pack(const PackOptions& options) {
  expect_ok(pack_dataset(options, nullptr));
  return value(Dataset::open(options.output));
}

inline std::string text_of(const Dataset& dataset, Split split, std::int64_t document) {
  const auto tokenizer = value(load_tokenizer(dataset.tokenizer()));
  return value(tokenizer->decode(value(dataset.document(split, document))));
}

inline std::vector<std::string> texts(const Dataset& dataset, Split split) {
  std::vector<std::string> all;
  for (std::int64_t i = 0; i < dataset.documents(split); ++i) {
    all.push_back(text_of(dataset, split, i));
  }
  return all;
}

// A text of so many lines, no two of them alike.
inline std::string lines(int count, std::uint64_t seed = 1) {
  Rng rng(seed);
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += std::to_string(i) + " " + std::string(1 + rng.below(40), 'a' + i % 26) + "\n";
  }
  return text;
}

// Every file below a directory, by name.
inline std::map<std::string, std::string> contents(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) {
      files[fs::relative(entry.path(), directory).string()] = read(entry.path());
    }
  }
  return files;
}

}  // namespace tnl::test
