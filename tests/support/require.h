// Results in tests: the value, or a failed test that shows the Status.
#pragma once

#include <gtest/gtest.h>

#include <stdexcept>
#include <utility>

#include "tnl/status.h"

#define EXPECT_OK(expression)                                                    \
  do {                                                                           \
    const ::tnl::Status tnl_status = (expression);                               \
    EXPECT_TRUE(tnl_status.ok()) << #expression << ": " << tnl_status.message(); \
  } while (0)

namespace tnl::test {

// Throws on failure, which GoogleTest reports as the failure of the running test.
template <class T>
T take(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().message());
  return std::move(result).value();
}

}  // namespace tnl::test
