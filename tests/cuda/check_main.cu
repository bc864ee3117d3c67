// Checks every kernel and plan on the device against the recurrence in fp64, a line a case; a case
// that fails does not stop the others. Exit status 1 if one did.
//   check [filter] [small] [older]
// older: what the plan gives devices other than Hopper, in place of its own kernels.
#include <span>
#include <tuple>

#include "core/try.h"
#include "support.cuh"

namespace tnl::cuda::device_test {
namespace {

enum class Data { kNormal, kExact };
enum class Call { kForward, kReverse, kBackward };

struct Case {
  std::string name;
  std::int64_t N = 2, T = 256;
  int H = 4, K = 128, V = 128;
  std::vector<std::int64_t> lengths;  // packed
  DType dtype = DType::kBF16;
  Call call = Call::kForward;
  bool state_in = true, state_out = true, transposed = false, undecayed = false, decay_out = false;
  bool fused = false;  // q, k, v are column blocks of one projection; gaps between the batches
  double out_scale = 1, value_scale = 1;
  std::vector<double> slopes;  // cycled over the heads; empty: ALiBi
  Data data = Data::kNormal;
  int nan_sequence = -1;
  PlanOptions options;
  double o_limit = 4e-3, state_limit = 3e-3;
};

// The operands of one case in device memory.
struct Operands {
  std::vector<Memory> memory;
  std::vector<std::int64_t> cu_seqlens;
  std::vector<float> log_decay;
  std::int64_t rows = 0, pad = 0;

  void* allocate(std::size_t bytes) { return memory.emplace_back(bytes).get(); }

  AttentionOperand operand(const Case& c, int columns, int share = 1) {
    AttentionOperand x;
    const int size = c.dtype == DType::kF32 ? 4 : 2;
    x.stride_head = columns;
    x.stride_token = static_cast<std::int64_t>(share) * c.H * columns;
    x.stride_batch = c.lengths.empty() ? (c.T + pad) * x.stride_token : 0;
    x.data = allocate(size * (rows + (c.N + 1) * pad) * x.stride_token);
    return x;
  }
  AttentionStateOperand state(std::int64_t N, int H, int K, int V, bool transposed, bool random) {
    AttentionStateOperand s;
    s.stride_sequence = std::int64_t{H} * K * V;
    s.stride_head = std::int64_t{K} * V;
    s.stride_k = transposed ? 1 : V;
    s.stride_v = transposed ? K : 1;
    const std::size_t count = N * s.stride_sequence;
    s.data = allocate(4 * count);
    if (random) {
      std::vector<float> host(count);
      for (std::size_t i = 0; i < count; ++i) {
        host[i] = static_cast<float>(static_cast<int>((i * 2654435761u >> 13) % 7) - 3);
      }
      CUDA_OK(cudaMemcpy(s.data, host.data(), 4 * count, cudaMemcpyHostToDevice));
    }
    return s;
  }
};

std::vector<AttentionProblem> build(const Case& c, Operands& x) {
  AttentionProblem p;
  p.dtype = c.dtype;
  p.heads = c.H;
  p.key_dim = c.K;
  p.value_dim = c.V;
  p.tokens = c.T;
  p.sequences = c.N;
  x.rows = c.N * c.T;
  if (!c.lengths.empty()) {
    x.cu_seqlens = {0};
    for (std::int64_t n : c.lengths) x.cu_seqlens.push_back(x.cu_seqlens.back() + n);
    p.sequences = static_cast<std::int64_t>(c.lengths.size());
    p.cu_seqlens = x.cu_seqlens;
    p.tokens = 0;
    x.rows = x.cu_seqlens.back();
  }
  x.pad = c.fused && c.lengths.empty() ? 5 : 0;
  x.log_decay = alibi_log_decay(c.H, 1);
  for (int h = 0; h < c.H && !c.slopes.empty(); ++h) {
    x.log_decay[h] = static_cast<float>(-c.slopes[h % c.slopes.size()]);
  }
  p.log_decay = x.log_decay.data();
  p.reverse = c.call == Call::kReverse;
  const int share = c.fused ? 3 : 1;
  p.q = x.operand(c, c.K, share);
  p.k = x.operand(c, c.K, share);
  p.v = x.operand(c, c.V, share);
  if (c.fused && c.K == c.V) {
    const int size = c.dtype == DType::kF32 ? 4 : 2;
    p.k.data = static_cast<char*>(p.q.data) + size * c.H * c.K;
    p.v.data = static_cast<char*>(p.q.data) + 2 * size * c.H * c.K;
  }
  p.o = x.operand(c, c.V);
  for (std::int64_t n = 0; n < p.sequences; ++n) {
    const bool exact = c.data == Data::kExact, nan = n == c.nan_sequence;
    fill(p, p.q, c.K, nan ? Fill::kNan : exact ? Fill::kExactQ : Fill::kNormal, 1, n);
    fill(p, p.k, c.K, nan ? Fill::kNan : exact ? Fill::kExactK : Fill::kNormal, 2, n);
    fill(p, p.v, c.V, nan ? Fill::kNan : exact ? Fill::kExactV : Fill::kNormal, 3, n);
  }
  p.out_scale = c.out_scale;
  p.value_scale = c.value_scale;
  if (c.call != Call::kBackward) {
    if (c.state_in) p.state_in = x.state(p.sequences, c.H, c.K, c.V, c.transposed, true);
    if (c.state_out) p.state_out = x.state(p.sequences, c.H, c.K, c.V, c.transposed, false);
    p.state_enters_undecayed = c.undecayed;
    p.decay_state_out = c.decay_out;
    return {p};
  }
  // dq = A(do, v, k; S0'), dk = A_rev(v, do, q; dS'), dv = A_rev(k, q, do; dS).
  AttentionOperand d_o = x.operand(c, c.V);
  for (std::int64_t n = 0; n < p.sequences; ++n) fill(p, d_o, c.V, Fill::kNormal, 4, n);
  AttentionStateOperand s0, ds;
  if (c.state_in) {
    s0 = x.state(p.sequences, c.H, c.K, c.V, false, true);
    ds = x.state(p.sequences, c.H, c.K, c.V, false, true);
  }
  AttentionProblem dq = p, dk = p, dv = p;
  const auto transpose = [](AttentionStateOperand s) {
    std::swap(s.stride_k, s.stride_v);
    return s;
  };
  dq.q = d_o;
  dq.k = p.v;
  dq.v = p.k;
  dq.o = x.operand(c, c.K);
  dq.key_dim = c.V;
  dq.value_dim = c.K;
  dq.out_scale = 0.5;
  dq.state_in = transpose(s0);
  dk.q = p.v;
  dk.k = d_o;
  dk.v = p.q;
  dk.o = x.operand(c, c.K);
  dk.key_dim = c.V;
  dk.value_dim = c.K;
  dk.value_scale = 0.5;
  dk.reverse = true;
  dk.state_in = transpose(ds);
  dk.state_enters_undecayed = true;
  dv.q = p.k;
  dv.k = p.q;
  dv.v = d_o;
  dv.o = x.operand(c, c.V);
  dv.value_scale = 0.5;
  dv.reverse = true;
  dv.state_in = ds;
  dv.state_enters_undecayed = true;
  dv.decay_state_out = true;
  if (c.state_out) dv.state_out = x.state(p.sequences, c.H, c.K, c.V, false, false);
  return {dq, dk, dv};
}

// Memory between the batches must still hold the NaN bits it began with.
bool gaps_untouched(const AttentionProblem& p, std::int64_t pad) {
  if (pad == 0) return true;
  const std::size_t size = p.dtype == DType::kF32 ? 4 : 2;
  std::vector<unsigned char> row(size * pad * p.o.stride_token);
  for (std::int64_t n = 0; n < p.sequences; ++n) {
    const char* gap = static_cast<const char*>(p.o.data) +
                      size * (n * p.o.stride_batch + p.tokens * p.o.stride_token);
    CUDA_OK(cudaMemcpy(row.data(), gap, row.size(), cudaMemcpyDeviceToHost));
    for (unsigned char byte : row) {
      if (byte != 0xff) return false;
    }
  }
  return true;
}

std::vector<unsigned char> download(const Operands& x) {
  std::vector<unsigned char> all;
  for (const Memory& m : x.memory) {
    const std::size_t at = all.size();
    all.resize(at + m.bytes());
    CUDA_OK(cudaMemcpy(all.data() + at, m.get(), m.bytes(), cudaMemcpyDeviceToHost));
  }
  return all;
}

bool run(const Case& c, const DeviceLimits& limits, bool twice) {
  Operands x;
  const std::vector<AttentionProblem> problems = build(c, x);
  const Result<Plan> plan = plan_attention(problems, limits, c.options);
  if (!plan.ok()) {
    std::printf("FAIL %-34s plan: %s\n", c.name.c_str(), plan.status().message().c_str());
    return false;
  }
  Memory workspace(plan->workspace_bytes);
  const auto launch = [&] {
    const Status status = run_attention(problems, *plan, workspace.get(), nullptr);
    if (!status.ok()) std::printf("     %s\n", status.message().c_str());
    const cudaError_t error = cudaDeviceSynchronize();
    if (error != cudaSuccess) {
      std::printf("FAIL %-34s [%s] %s\n", c.name.c_str(), plan->describe().c_str(),
                  cudaGetErrorString(error));
      std::exit(2);  // the context is lost
    }
    return status.ok();
  };
  bool ok = launch();
  std::string text;
  for (const AttentionProblem& p : problems) {
    Sums o{}, s{};
    compare(p, c.nan_sequence, o, s);
    char line[160];
    if (c.data == Data::kExact) {
      ok &= o.mismatches == 0 && s.mismatches == 0 && o.norm > 0;
      std::snprintf(line, sizeof(line), " mismatches %.0f/%.0f", o.mismatches, s.mismatches);
    } else {
      const double error = o.norm > 0 ? std::sqrt(o.error / o.norm) : o.error;
      const double state = s.norm > 0 ? std::sqrt(s.error / s.norm) : s.error;
      ok &= error <= c.o_limit && state <= c.state_limit;  // false for NaN too
      std::snprintf(line, sizeof(line), " o %.2e (rounding %.2e) S %.2e", error,
                    o.norm > 0 ? std::sqrt(o.rounded / o.norm) : 0.0, state);
    }
    text += line;
    if (!gaps_untouched(p, x.pad)) {
      ok = false;
      text += " WROTE INTO A GAP";
    }
  }
  if (twice) {
    const std::vector<unsigned char> before = download(x);
    CUDA_OK(cudaMemset(workspace.get(), 0xff, workspace.bytes()));
    ok &= launch();
    if (before != download(x)) {
      ok = false;
      text += " DIFFERS FROM RUN TO RUN";
    }
  }
  std::printf("%s %-34s [%s]%s\n", ok ? "ok  " : "FAIL", c.name.c_str(), plan->describe().c_str(),
              text.c_str());
  std::fflush(stdout);
  return ok;
}

PlanOptions forced(const char* kernel, const char* segments = "plain", int runs = 0,
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
const double kHalf = std::log(2.0);

// f32 data, in any shape and at any stride.
std::vector<Case> fp32_cases() {
  std::vector<Case> all;
  for (auto [K, V] : {std::pair{64, 64}, {128, 128}, {256, 40}, {200, 72}, {5, 3}, {33, 130}}) {
    Case c{.name = "fp32 " + std::to_string(K) + "x" + std::to_string(V),
           .T = 300,
           .H = 3,
           .K = K,
           .V = V,
           .dtype = DType::kF32,
           .o_limit = 2e-6,
           .state_limit = 2e-6};
    all.push_back(c);
    c.name += " strided, gaps, reverse";
    c.fused = true;
    c.transposed = c.undecayed = c.decay_out = true;
    c.call = Call::kReverse;
    all.push_back(c);
    c.fused = c.transposed = c.undecayed = c.decay_out = false;
    c.name = "fp32 " + std::to_string(K) + "x" + std::to_string(V) + " packed backward";
    c.call = Call::kBackward;
    c.lengths = {100, 0, 1, 300, 64, 7};
    all.push_back(c);
  }
  return all;
}

std::vector<Case> cases(bool small, std::span<const Sweep> shapes) {
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
    if (small) continue;
    c = {.name = name + " batch invariant", .N = 2, .T = 20000, .H = 3, .K = s.K, .V = s.V};
    c.options.kernel = s.name;
    c.options.batch_invariant = true;
    add(c);
    for (const char* segments : {"warm", "carry"}) {
      c = {.name = name + " random " + segments,
           .N = 1,
           .T = 5000,
           .H = 8,
           .K = s.K,
           .V = s.V,
           .options = forced(s.name, segments, 60)};
      add(c);
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
  }
  if (!small) {  // a table of more than one upload
    Case c{.name = "many sequences", .H = 5};
    for (int i = 0; i < 400; ++i) c.lengths.push_back(i % 97);
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
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (auto [K, V] : {std::pair{64, 64}, {5, 3}, {300, 70}}) {
      Case c{.name = "general " + std::to_string(K) + "x" + std::to_string(V),
             .T = 90,
             .H = 3,
             .K = K,
             .V = V,
             .dtype = dtype,
             .options = forced("general")};
      add(c);
      c.call = Call::kReverse;
      c.lengths = {20, 0, 33};
      c.name += " packed reverse";
      c.undecayed = c.decay_out = true;
      add(c);
    }
  }
  if (!small) {
    for (double factor : {1.0, 0.5, 1e-5}) {
      for (const Sweep& s : shapes) {
        for (Split split : {Split::kState, Split::kAll}) {
          Case c{.name = std::string(s.name) + " T 8192 slopes x" + std::to_string(factor),
                 .N = 1,
                 .T = 8192,
                 .H = 8,
                 .K = s.K,
                 .V = s.V,
                 .state_in = false,
                 .options = forced(s.name, "plain", 0, split)};
          for (float x : alibi_log_decay(8, factor)) c.slopes.push_back(-x);
          add(c);
        }
      }
      Case c{.name = "backward T 8192 slopes x" + std::to_string(factor),
             .N = 1,
             .T = 8192,
             .H = 8,
             .call = Call::kBackward,
             .state_in = false};
      for (float x : alibi_log_decay(8, factor)) c.slopes.push_back(-x);
      add(c);
    }
  }
  return all;
}

// Bits that two ways of running one call must share: of the outputs and the final states.
using Variant = std::function<Status(std::span<const AttentionProblem>, const DeviceLimits&)>;

Status run_with(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                const PlanOptions& options, bool tables_ready) {
  TNL_ASSIGN(const Plan plan, plan_attention(problems, limits, options));
  Memory workspace(plan.workspace_bytes);
  if (tables_ready) TNL_TRY(upload_tables(problems, plan, workspace.get(), nullptr));
  TNL_TRY(run_attention(problems, plan, workspace.get(), nullptr, tables_ready));
  CUDA_OK(cudaDeviceSynchronize());
  return {};
}

// The same through a CUDA graph, replayed twice.
Status run_in_graph(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                    const PlanOptions& options) {
  TNL_ASSIGN(const Plan plan, plan_attention(problems, limits, options));
  Memory workspace(plan.workspace_bytes);
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA_OK(cudaStreamCreate(&stream));
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  TNL_TRY(run_attention(problems, plan, workspace.get(), stream));
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
  for (int i = 0; i < 2; ++i) CUDA_OK(cudaGraphLaunch(exec, stream));
  CUDA_OK(cudaStreamSynchronize(stream));
  CUDA_OK(cudaGraphExecDestroy(exec));
  CUDA_OK(cudaGraphDestroy(graph));
  CUDA_OK(cudaStreamDestroy(stream));
  return {};
}

bool same_bits(const char* name, const Case& c, const DeviceLimits& limits, const Variant& one,
               const Variant& other) {
  std::vector<unsigned char> bytes[2];
  for (int i = 0; i < 2; ++i) {
    Operands x;
    const std::vector<AttentionProblem> problems = build(c, x);
    const Status status = (i == 0 ? one : other)(problems, limits);
    if (!status.ok()) std::printf("     %s\n", status.message().c_str());
    bytes[i] = download(x);
  }
  const bool ok = bytes[0] == bytes[1];
  std::printf("%s %s\n", ok ? "ok  " : "FAIL", name);
  return ok;
}

int check_same_bits(const DeviceLimits& limits, int& count) {
  int failed = 0;
  const auto options = [](const PlanOptions& o, bool ready = false) -> Variant {
    return [=](std::span<const AttentionProblem> p, const DeviceLimits& l) {
      return run_with(p, l, o, ready);
    };
  };
  for (auto [K, V, paired, single] : {std::tuple{64, 64, "sweep64", "sweep64-single"},
                                      {128, 128, "sweep128", "sweep128-single"},
                                      {256, 128, "sweep256", "sweep256-single"}}) {
    for (Split split : {Split::kNone, Split::kState, Split::kAll}) {
      const Case c{.name = "", .T = 700, .K = K, .V = V};
      ++count;
      failed += !same_bits((std::string("same bits ") + paired + ", " + single).c_str(), c, limits,
                           options(forced(paired, "plain", 0, split)),
                           options(forced(single, "plain", 0, split)));
    }
  }
  for (const char* segments : {"warm", "carry"}) {
    const Case c{.name = "", .N = 1, .T = 5000, .H = 3};
    const PlanOptions o = forced("sweep128", segments, 40);
    count += 2;
    failed += !same_bits("same bits tables ready", c, limits, options(o), options(o, true));
    failed += !same_bits("same bits in a graph", c, limits, options(o),
                         [=](std::span<const AttentionProblem> p, const DeviceLimits& l) {
                           return run_in_graph(p, l, o);
                         });
  }
  return failed;
}

// Offsets of more than 2^31 elements: the last of a batch whose sequences lie 2^30 elements apart
// equals the same sequence alone.
bool check_far(const DeviceLimits& limits) {
  constexpr std::int64_t kStride = std::int64_t{1} << 30, kTokens = 200;
  constexpr int kHeads = 2, kWidth = 128;
  const std::vector<float> decay = alibi_log_decay(kHeads, 1);
  AttentionProblem p;
  p.dtype = DType::kBF16;
  p.sequences = 4;
  p.tokens = kTokens;
  p.heads = kHeads;
  p.key_dim = p.value_dim = kWidth;
  p.log_decay = decay.data();
  std::vector<Memory> memory;
  const std::size_t bytes = 2 * (3 * kStride + kTokens * kHeads * kWidth);
  for (AttentionOperand* x : {&p.q, &p.k, &p.v, &p.o}) {
    *x = {memory.emplace_back(bytes).get(), kStride, kHeads * kWidth, kWidth};
  }
  std::uint32_t seed = 1;
  for (const AttentionOperand* x : {&p.q, &p.k, &p.v}) {
    for (std::int64_t n = 0; n < p.sequences; ++n) fill(p, *x, kWidth, Fill::kNormal, seed, n);
    ++seed;
  }
  const Status status = run_with(std::span(&p, 1), limits, {}, false);
  if (!status.ok()) std::printf("     %s\n", status.message().c_str());
  Sums o{}, s{};
  compare(p, -1, o, s);
  const double error = std::sqrt(o.error / o.norm);
  const bool ok = error < 4e-3;
  std::printf("%s offsets beyond 2^31 elements: o %.2e\n", ok ? "ok  " : "FAIL", error);
  return ok;
}

}  // namespace
}  // namespace tnl::cuda::device_test

int main(int argc, char** argv) {
  using namespace tnl;
  using namespace tnl::cuda;
  using namespace tnl::cuda::device_test;
  std::string filter;
  bool small = false, older = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "small")
      small = true;
    else if (std::string(argv[i]) == "older")
      older = true;
    else
      filter = argv[i];
  }
  const Status ready = prepare_kernels();
  if (!ready.ok()) {
    std::printf("%s\n", ready.message().c_str());
    return 2;
  }
  DeviceLimits limits;
  CUDA_OK(cudaDeviceGetAttribute(&limits.multiprocessors, cudaDevAttrMultiProcessorCount, 0));
  int failed = 0, count = 0;
  if (older) limits.capability = 80;
  std::vector<Case> all =
      cases(small, older ? std::span<const Sweep>(kOlderShapes) : std::span<const Sweep>(kShapes));
  for (Case& c : fp32_cases()) all.push_back(std::move(c));
  for (const Case& c : all) {
    if (c.name.find(filter) == std::string::npos) continue;
    ++count;
    failed += !run(c, limits, count % 3 == 0 && !small);
  }
  if (!older && std::string("same bits").find(filter) != std::string::npos) {
    failed += check_same_bits(limits, count);
  }
  if (!small && std::string("far").find(filter) != std::string::npos) {
    ++count;
    failed += !check_far(limits);
  }
  std::printf("%d of %d cases failed\n", failed, count);
  return failed > 0;
}
