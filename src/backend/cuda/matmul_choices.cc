#include "backend/cuda/matmul_choices.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "core/printable.h"
#include "core/try.h"

namespace tnl::cuda {
namespace {

constexpr std::string_view kHeading = "cublaslt ";

// visit(number) for each of a key, in the order of its line.
template <class Key, class Visitor>
void visit_key(Key& key, const Visitor& visit) {
  for (auto* number :
       {&key.form, &key.rows, &key.cols, &key.depth, &key.stride_a, &key.stride_b, &key.stride_c,
        &key.dtype, &key.dtype_c, &key.align_a, &key.align_b, &key.align_c, &key.reads_c}) {
    visit(*number);
  }
}

// Takes a number up to the next blank or the end.
template <class Number>
bool take_number(std::string_view& line, int base, Number& number) {
  const char* end = line.data() + line.size();
  const auto [next, error] = std::from_chars(line.data(), end, number, base);
  if (error != std::errc() || (next != end && *next != ' ')) return false;
  line.remove_prefix(static_cast<std::size_t>(next - line.data()) + (next == end ? 0 : 1));
  return true;
}

bool take_product(std::string_view line, MatmulKey& key, MatmulAlgorithm& algorithm) {
  bool good = true;
  visit_key(key, [&](std::int64_t& number) {
    good = good && take_number(line, 10, number) && number >= 0;
  });
  for (std::uint64_t& word : algorithm) good = good && take_number(line, 16, word);
  return good && line.empty();
}

}  // namespace

std::string write_choices(const MatmulChoices& choices) {
  std::string text = fmt::format("{}{}\n", kHeading, choices.version);
  for (const auto& [key, algorithm] : choices.algorithms) {
    visit_key(key, [&](std::int64_t number) { text += fmt::format("{} ", number); });
    for (std::size_t i = 0; i < algorithm.size(); ++i) {
      text += fmt::format("{:x}{}", algorithm[i], i + 1 < algorithm.size() ? ' ' : '\n');
    }
  }
  return text;
}

Result<MatmulChoices> read_choices(std::string_view text) {
  MatmulChoices choices;
  for (std::int64_t number = 1; number == 1 || !text.empty(); ++number) {
    const std::string_view whole = text.substr(0, text.find('\n'));
    std::string_view line = whole;
    const auto refuse = [&](std::string_view expected) {
      return invalid_argument(
          fmt::format("line {}: found '{}', expected {}", number, printable(whole), expected));
    };
    text.remove_prefix(std::min(text.size(), whole.size() + 1));
    if (number == 1) {
      if (!line.starts_with(kHeading)) return refuse("'cublaslt' and its version");
      line.remove_prefix(kHeading.size());
      if (!take_number(line, 10, choices.version) || !line.empty() || choices.version <= 0) {
        return refuse("the version of cuBLASLt");
      }
      continue;
    }
    MatmulKey key;
    MatmulAlgorithm algorithm{};
    if (!take_product(line, key, algorithm)) {
      return refuse("13 numbers of a matrix product and 8 of its algorithm");
    }
    if (!choices.algorithms.emplace(key, algorithm).second) return refuse("each product once");
  }
  return choices;
}

}  // namespace tnl::cuda
