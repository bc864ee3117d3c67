// The measurement behind `tnl bench attention`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tnl/attention.h"
#include "tnl/cli.h"

namespace tnl::command {

struct AttentionBenchOptions {
  std::vector<std::string> shapes = {"2x2048x8x64", "1x2048x8x128"};
  std::string slopes = "half";
  std::string varlen;  // empty: a batch; "drawn" or a list of lengths: packed
  std::string pass = "both";
  std::string dtype = "f32";
  bool reverse = false;
  AttentionPlanOptions plan = {};
  int repeat = 10;
  bool json = false;
  DeviceFlags device;
};

void bench_attention(const AttentionBenchOptions& options);  // throws Exit

}  // namespace tnl::command
