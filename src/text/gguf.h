// The metadata of GGUF files (version 2 and 3), in which llama.cpp keeps a model's vocabulary.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tnl/status.h"

namespace tnl {

// Strings point into the file.
using GgufValue = std::variant<std::int64_t, double, std::string_view,
                               std::vector<std::string_view>, std::vector<double>>;

// The keys that begin with "tokenizer.".
class GgufMetadata {
 public:
  // Values point into `file`. Integers and bools of all widths become int64, floats double.
  // Arrays of arrays are refused; nothing behind the metadata is looked at.
  static Result<GgufMetadata> parse(std::string_view file);

  // An error that names the key where it is missing or of another type.
  Result<std::string_view> text(const std::string& key) const;
  Result<std::vector<std::string_view>> texts(const std::string& key) const;
  Result<std::vector<double>> numbers(const std::string& key) const;
  // `fallback` where the key is missing.
  Result<std::int64_t> integer(const std::string& key, std::int64_t fallback) const;

 private:
  template <class T>
  Result<T> get(const std::string& key, std::string_view type) const;

  std::map<std::string, GgufValue, std::less<>> values_;
};

}  // namespace tnl
