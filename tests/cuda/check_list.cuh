// The calls that check_main runs through every kernel and plan.
#pragma once

#include <span>

#include "check_case.cuh"

namespace tnl::cuda::device_test {

inline PlanOptions forced(const char* kernel, const char* segments = "plain", int runs = 0,
                          Split split = Split::kState, double bits = 24) {
  PlanOptions o;
  o.kernel = kernel;
  o.segments = segments;
  o.runs = runs;
  o.split = split;
  o.horizon_bits = bits;
  return o;
}

struct Sweep {
  const char* name;
  int K, V;
};
constexpr Sweep kShapes[] = {{"sweep64", 64, 64},           {"sweep128", 128, 128},
                             {"sweep256", 256, 128},        {"sweep64-single", 64, 64},
                             {"sweep128-single", 128, 128}, {"sweep256-single", 256, 128},
                             {"sweep64-pair", 64, 64}};
constexpr Sweep kOlderShapes[] = {{"mma64", 64, 64}, {"mma128", 128, 128}, {"mma256", 256, 128},
                                  {"fma64", 64, 64}, {"fma128", 128, 128}, {"fma256", 256, 128}};
inline const double kHalf = std::log(2.0);

inline std::vector<Case> cases(bool small, std::span<const Sweep> shapes) {
  std::vector<Case> all;
  const auto add = [&](Case c) { all.push_back(std::move(c)); };
  for (const Sweep& s : shapes) {
    const std::string name = s.name;
    for (double slope : {kHalf, 0.0}) {
      const std::string at = name + (slope > 0 ? " exact 1/2 " : " exact 1 ");
      const bool state = slope == 0;
      Case c{.name = at + "plain",
             .T = 512,
             .K = s.K,
             .V = s.V,
             .state_in = state,
             .slopes = {slope},
             .data = Data::kExact,
             .options = forced(s.name)};
      add(c);
      c.name = at + "reverse tail";
      c.T = 333;
      c.call = Call::kReverse;
      add(c);
      c.name = at + "packed";
      c.call = Call::kForward;
      c.lengths = {1, 0, 63, 64, 65, 200, 7};
      add(c);
      c.call = Call::kReverse;
      c.name = at + "packed reverse";
      add(c);
      if (small) continue;
      // In fp16 λ^24 is 0: the exact test holds for λ = 1 only.
      c = {.name = at + "fp16",
           .T = 300,
           .K = s.K,
           .V = s.V,
           .dtype = DType::kF16,
           .state_in = state,
           .slopes = {slope},
           .data = Data::kExact,
           .options = forced(s.name)};
      if (slope == 0) add(c);
      for (const char* segments : {"warm", "carry"}) {
        for (int runs : {1, 2, 7, 16, 64}) {
          c = {.name = at + segments + " " + std::to_string(runs),
               .T = 1000,
               .K = s.K,
               .V = s.V,
               .call = runs == 16 ? Call::kReverse : Call::kForward,
               .state_in = state,
               .slopes = {slope},
               .data = Data::kExact,
               .options = forced(s.name, segments, runs, Split::kState, 1e9)};
          add(c);
        }
      }
    }
    for (Split split : {Split::kNone, Split::kState, Split::kAll}) {
      const char* words[] = {"unsplit", "state split", "all split"};
      Case c{.name = name + " random " + words[static_cast<int>(split)],
             .T = small ? 200 : 2048,
             .H = 8,
             .K = s.K,
             .V = s.V,
             .options = forced(s.name, "plain", 0, split)};
      if (split == Split::kAll) c.o_limit = 1.8e-3, c.state_limit = 1e-4;
      add(c);
      c.name += " fp16";
      c.dtype = DType::kF16;
      c.o_limit = 1e-3;
      c.state_limit = 5e-4;
      add(c);
    }
    Case c{.name = name + " backward",
           .N = 2,
           .T = small ? 130 : 1000,
           .H = 4,
           .K = s.K,
           .V = s.V,
           .call = Call::kBackward};
    add(c);
    c.name = name + " backward packed";
    c.lengths = {100, 0, 1, 500, 64};
    add(c);
    c = {.name = name + " strided, gaps",
         .T = 100,
         .H = 6,
         .K = s.K,
         .V = s.V,
         .transposed = true,
         .fused = true,
         .out_scale = 0.25,
         .value_scale = 3,
         .options = forced(s.name)};
    add(c);
    c.name += ", reverse";
    c.call = Call::kReverse;
    c.undecayed = c.decay_out = true;
    add(c);
    c = {.name = name + " undecayed",
         .T = 70,
         .K = s.K,
         .V = s.V,
         .undecayed = true,
         .decay_out = true,
         .options = forced(s.name)};
    add(c);
    c.T = 40;
    c.name += " short";
    add(c);
    c = {.name = name + " NaN beside",
         .H = 4,
         .K = s.K,
         .V = s.V,
         .lengths = {70, 130, 50, 64, 1},
         .nan_sequence = 1,
         .options = forced(s.name)};
    add(c);
    c.name += ", reverse";
    c.call = Call::kReverse;
    add(c);
    c.nan_sequence = 3;
    add(c);
    c = {.name = name + " slopes 0 .. 50",
         .T = small ? 150 : 1500,
         .H = 8,
         .K = s.K,
         .V = s.V,
         .slopes = {0, 1e-5, 0.01, 0.3, 1, 5, 50, 1e30},
         .options = forced(s.name)};
    add(c);
    for (const char* segments : {"warm", "carry"}) {
      c = {.name = name + " random " + segments,
           .N = 1,
           .T = small ? 300 : 5000,
           .H = small ? 2 : 8,
           .K = s.K,
           .V = s.V,
           .options = forced(s.name, segments, small ? 6 : 60)};
      add(c);
      if (small) continue;
      c.name += " packed reverse";
      c.lengths = {3000, 0, 10, 1000, 700};
      c.call = Call::kReverse;
      add(c);
      c = {.name = name + " backward " + segments,
           .N = 1,
           .T = 3000,
           .H = 4,
           .K = s.K,
           .V = s.V,
           .call = Call::kBackward,
           .options = forced("", segments, 60)};
      add(c);
    }
    if (small) continue;
    c = {.name = name + " batch invariant", .N = 2, .T = 20000, .H = 3, .K = s.K, .V = s.V};
    c.options.kernel = s.name;
    c.options.batch_invariant = true;
    add(c);
  }
  if (!small) {  // a table of more than one upload
    Case c{.name = "many sequences", .H = 5};
    for (int i = 0; i < 400; ++i) c.lengths.push_back(i % 97);
    add(c);
  }
  for (Split split : {Split::kState, Split::kAll}) {
    Case c{.name = "chunk128",
           .T = 64,
           .state_in = false,
           .decay_out = true,
           .options = forced("chunk128", "plain", 0, split)};
    if (split == Split::kAll) c.o_limit = 1.8e-3, c.state_limit = 1e-4;
    add(c);
    c.name += " packed reverse";
    c.call = Call::kReverse;
    c.lengths = {1, 0, 63, 64, 30};
    add(c);
  }
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    Case c{.name = "general", .T = 70, .K = 20, .V = 12, .dtype = dtype};
    c.options = forced("general");
    c.lengths = {40, 0, 1, 25};
    add(c);
    c.name += " reverse";
    c.call = Call::kReverse;
    add(c);
  }
  for (auto [K, V] : {std::pair{16, 64},
                      {96, 96},
                      {40, 200},
                      {80, 8},
                      {128, 192},
                      {192, 64},
                      {256, 256},
                      {128, 256},
                      {24, 136}}) {
    const std::string name = "padded K " + std::to_string(K) + " V " + std::to_string(V);
    Case c{.name = name, .T = 150, .H = 3, .K = K, .V = V};
    add(c);
    c.name += " packed backward";
    c.call = Call::kBackward;
    c.lengths = {77, 3, 128};
    add(c);
  }
  return all;
}

}  // namespace tnl::cuda::device_test
