// TNL_CHECK: an invariant of the library itself. Never for anything a caller or a file can cause.
#pragma once

#include <cstdio>
#include <cstdlib>

#define TNL_CHECK(condition)                                                                      \
  do {                                                                                            \
    if (!(condition)) [[unlikely]] {                                                              \
      std::fprintf(stderr, "%s:%d: internal check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                               \
    }                                                                                             \
  } while (0)
