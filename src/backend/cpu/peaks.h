// What the machine itself can do, measured: the denominators of benchmarks.
#pragma once

#include <string>

#include "backend/backend.h"

namespace tnl::cpu {

// fp32 FLOP/s of all threads of the pool together, in multiply-adds on registers alone. Takes a
// tenth of a second.
double multiply_add_peak(const std::string& target, ThreadPool& pool);

// Bytes/s at which all threads together read memory that no cache holds: the best of several passes
// over half a gigabyte.
Result<double> read_bandwidth(const std::string& target, ThreadPool& pool);

// FLOP/s of backend.matmul(), C = A Bᵀ in fp32 with 2048 rows and columns and that depth: the best
// of several.
Result<double> matmul_rate(Backend& backend);

}  // namespace tnl::cpu
