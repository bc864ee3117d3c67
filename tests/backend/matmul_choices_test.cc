// The algorithms of matrix products, written and read again.
#include "backend/cuda/matmul_choices.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "support/require.h"

namespace tnl::cuda {
namespace {

using test::take;

MatmulChoices example() {
  MatmulChoices choices;
  choices.version = 130001;
  for (std::int64_t i = 0; i < 5; ++i) {
    const MatmulKey key{.form = i % 3,
                        .rows = 32768,
                        .cols = 4096 + i,
                        .depth = std::numeric_limits<std::int64_t>::max() - i,
                        .align_a = 256};
    choices.algorithms[key] = {0, ~std::uint64_t{0}, static_cast<std::uint64_t>(i), 3, 4, 5, 6, 7};
  }
  return choices;
}

TEST(MatmulChoices, AreReadAsTheyWereWritten) {
  const MatmulChoices choices = example();
  const MatmulChoices again = take(read_choices(write_choices(choices)));
  EXPECT_EQ(again.version, choices.version);
  EXPECT_EQ(again.algorithms, choices.algorithms);
  const MatmulChoices none = take(read_choices("cublaslt 12"));
  EXPECT_EQ(none.version, 12);
  EXPECT_TRUE(none.algorithms.empty());
}

TEST(MatmulChoices, WhatIsWrongIsNamed) {
  const std::string product = "0 1 2 3 4 5 6 7 8 9 10 11 1 0 1 2 3 4 5 6 ff";
  ASSERT_TRUE(read_choices("cublaslt 1\n" + product).ok());
  const std::pair<std::string, std::string> cases[] = {
      {"", "line 1: found '', expected 'cublaslt' and its version"},
      {"cublas 1", "line 1: found 'cublas 1', expected 'cublaslt' and its version"},
      {"cublaslt x", "line 1: found 'cublaslt x', expected the version of cuBLASLt"},
      {"cublaslt 0", "line 1: found 'cublaslt 0', expected the version of cuBLASLt"},
      {"cublaslt 1 2", "line 1: found 'cublaslt 1 2', expected the version of cuBLASLt"},
      {"cublaslt 1\n\n", "line 2: found '', expected 13 numbers of a matrix product and 8"},
      {"cublaslt 1\n" + product + " 0", "line 2: found '0 1 2 3 4"},
      {"cublaslt 1\n-1" + product, "line 2: found '-10 1 2 3"},
      {"cublaslt 1\n1" + std::string(30, '0'), "line 2: found '1000000"},
      {"cublaslt 1\n" + product + "f0000000000000000", "line 2: found '0 1 2 3 4"},
      {"cublaslt 1\n" + product + "\n" + product, "line 3: found '0 1 2 3 4"},
  };
  for (const auto& [text, sentence] : cases) {
    const auto read = read_choices(text);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_TRUE(read.status().message().starts_with(sentence)) << read.status().message();
  }
}

}  // namespace
}  // namespace tnl::cuda
