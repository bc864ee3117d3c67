// What the machine itself can do, measured: the denominators of benchmarks.
#pragma once

#include <string>

#include "core/thread_pool.h"
#include "tnl/status.h"

namespace tnl::cpu {

// fp32 FLOP/s of all threads of the pool together, in multiply-adds on registers alone. Takes a
// tenth of a second.
double multiply_add_peak(const std::string& target, ThreadPool& pool);

// Bytes/s at which all threads together read memory that no cache holds: the best of several passes
// over half a gigabyte.
Result<double> read_bandwidth(const std::string& target, ThreadPool& pool);

}  // namespace tnl::cpu
