// Times attention on a GPU: median of repetitions with a cold L2 (flushed by reading), beside the
// floor: every input read once and every output written once at this run's copy bandwidth.
//   bench [BxTxHxK[xV][:plan]] ... [slopes=1,0.5,1e-5] [split=auto,state,all,none] [reps=15]
//         [what=forward,backward] [states=0,1] [graph=0] [tables=0]
//         [dtype=bf16|f32]
// plan: kernel/segments/runs, each may be empty. A shape that starts with v is a packed batch: B
// sequences of 100 to T tokens. states: initial and final ones too, counted in the floor. graph:
// the time of a replay; tables: with the plan's tables uploaded before.
#include <map>

#include "support.cuh"
#include "timing.cuh"

namespace tnl::cuda::device_test {
namespace {

struct Shape {
  std::int64_t B, T;
  int H, K, V;
  std::string plan;
  std::string name;
  std::vector<std::int64_t> cu_seqlens;  // packed

  std::int64_t rows() const { return cu_seqlens.empty() ? B * T : cu_seqlens.back(); }
};

Shape parse(const char* text) {
  Shape s{};
  s.name = text;
  const bool packed = *text == 'v';
  text += packed;
  long long B = 0, T = 0;
  char rest[128] = "";
  int n = std::sscanf(text, "%lldx%lldx%dx%dx%d%127s", &B, &T, &s.H, &s.K, &s.V, rest);
  if (n < 5) {
    n = std::sscanf(text, "%lldx%lldx%dx%d%127s", &B, &T, &s.H, &s.K, rest);
    s.V = s.K;
  }
  s.B = B;
  s.T = T;
  s.plan = rest[0] == ':' ? rest + 1 : "";
  if (packed) {
    s.cu_seqlens = {0};
    std::uint32_t random = 12345;
    for (std::int64_t i = 0; i < s.B; ++i) {
      random = random * 1664525u + 1013904223u;
      s.cu_seqlens.push_back(s.cu_seqlens.back() + 100 + (random >> 8) % (s.T - 99));
    }
  }
  return s;
}

std::vector<std::string> split_text(const std::string& text, char by) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == by)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

PlanOptions options_of(const std::string& plan, std::optional<Split> split) {
  PlanOptions o;
  const std::vector<std::string> parts = split_text(plan, '/');
  if (!parts[0].empty()) o.kernel = parts[0];
  if (parts.size() > 1) o.segments = parts[1];
  if (parts.size() > 2 && !parts[2].empty()) o.runs = std::atoi(parts[2].c_str());
  o.split = split;
  return o;
}

struct Tensors {
  Memory q, k, v, o, d_o, dq, dk, dv, state_in, state_out;
};

// What one line of the table is about besides the shape.
struct Variant {
  double slopes = 1;
  std::optional<Split> split;
  bool backward = false, states = false, graph = false, tables = false;
  int reps = 15;
  DType dtype = DType::kBF16;
};

AttentionProblem problem(const Shape& s, const std::vector<float>& decay, DType dtype) {
  AttentionProblem p;
  p.dtype = dtype;
  p.sequences = s.B;
  p.tokens = s.cu_seqlens.empty() ? s.T : 0;
  p.cu_seqlens = s.cu_seqlens;
  p.heads = s.H;
  p.log_decay = decay.data();
  return p;
}

AttentionOperand operand(const Shape& s, const Memory& m, int columns) {
  return {m.get(), s.cu_seqlens.empty() ? s.T * s.H * columns : 0, std::int64_t{s.H} * columns,
          columns};
}

// The three calls of the backward pass (docs/math.md).
std::vector<AttentionProblem> backward_of(const Shape& s, const AttentionProblem& p,
                                          const Tensors& t) {
  const AttentionOperand d_o = operand(s, t.d_o, s.V);
  AttentionProblem dq = p, dk = p, dv = p;
  dq.key_dim = dk.key_dim = s.V;
  dq.value_dim = dk.value_dim = s.K;
  dq.q = d_o, dq.k = p.v, dq.v = p.k, dq.o = operand(s, t.dq, s.K);
  dk.q = p.v, dk.k = d_o, dk.v = p.q, dk.o = operand(s, t.dk, s.K);
  dv.q = p.k, dv.k = p.q, dv.v = d_o, dv.o = operand(s, t.dv, s.V);
  dk.reverse = dv.reverse = true;
  return {dq, dk, dv};
}

void bench(const Shape& s, const DeviceLimits& limits, const Memory& flush, const Variant& what) {
  const std::vector<float> decay = alibi_log_decay(s.H, what.slopes);
  const std::size_t size = what.dtype == DType::kF32 ? 4 : 2;
  const std::size_t key = size * s.rows() * s.H * s.K, value = size * s.rows() * s.H * s.V;
  Tensors t{Memory(key), Memory(key), Memory(value), Memory(value)};
  AttentionProblem p = problem(s, decay, what.dtype);
  p.key_dim = s.K;
  p.value_dim = s.V;
  p.q = operand(s, t.q, s.K);
  p.k = operand(s, t.k, s.K);
  p.v = operand(s, t.v, s.V);
  p.o = operand(s, t.o, s.V);
  for (std::int64_t n = 0; n < s.B; ++n) {
    fill(p, p.q, s.K, Fill::kNormal, 1, n);
    fill(p, p.k, s.K, Fill::kNormal, 2, n);
    fill(p, p.v, s.V, Fill::kNormal, 3, n);
  }
  double bytes = 2.0 * (key + value);
  if (what.states) {
    const std::size_t state = std::size_t{4} * s.B * s.H * s.K * s.V;
    t.state_in = Memory(state);
    t.state_out = Memory(state);
    CUDA_OK(cudaMemset(t.state_in.get(), 0, state));
    p.state_in = {t.state_in.get(), std::int64_t{s.H} * s.K * s.V, std::int64_t{s.K} * s.V, s.V, 1};
    p.state_out = p.state_in;
    p.state_out.data = t.state_out.get();
    bytes += 2.0 * state;
  }
  std::vector<AttentionProblem> problems{p};
  if (what.backward) {
    t.d_o = Memory(value);
    t.dq = Memory(key);
    t.dk = Memory(key);
    t.dv = Memory(value);
    const AttentionOperand d_o = operand(s, t.d_o, s.V);
    for (std::int64_t n = 0; n < s.B; ++n) fill(p, d_o, s.V, Fill::kNormal, 4, n);
    problems = backward_of(s, p, t);
    bytes = 4.0 * key + 3.0 * value;
  }
  const Result<Plan> plan = plan_attention(problems, limits, options_of(s.plan, what.split));
  if (!plan.ok()) {
    std::printf("%s\n", plan.status().message().c_str());
    return;
  }
  Memory workspace(plan->workspace_bytes);
  const auto must = [](const Status& status) {
    if (!status.ok()) std::printf("%s\n", status.message().c_str());
  };
  if (what.tables) must(upload_tables(problems, *plan, workspace.get(), nullptr));
  const auto run = [&](cudaStream_t stream) {
    must(run_attention(problems, *plan, workspace.get(), stream, what.tables));
  };
  const double ms = what.graph ? graph_ms(flush, what.reps, run)
                               : median_ms(flush, what.reps, [&] { run(nullptr); });
  const double floor = bytes / limits.bytes_per_second * 1e3;
  double model = 0;
  for (const LaunchPlan& l : plan->launches) model += l.estimated_seconds * 1e3;
  const std::string name = s.name.substr(0, s.name.find(':'));
  std::printf("%s %-17s%s%s x%-5g %8.4f ms  x%.3f  %5.0f GB/s  model x%.3f [%s]\n",
              what.backward ? "bwd" : "fwd", name.c_str(), what.states ? " S" : "",
              what.graph ? " graph" : "", what.slopes, ms, ms / floor, bytes / ms / 1e6,
              model / floor, plan->describe().c_str());
  std::fflush(stdout);
}

}  // namespace
}  // namespace tnl::cuda::device_test

int main(int argc, char** argv) {
  using namespace tnl;
  using namespace tnl::cuda;
  using namespace tnl::cuda::device_test;
  std::vector<Shape> shapes;
  std::map<std::string, std::string> options{{"slopes", "1"},     {"split", "auto"}, {"reps", "15"},
                                             {"what", "forward"}, {"states", "0"},   {"graph", "0"},
                                             {"tables", "0"},     {"dtype", "bf16"}};
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const std::size_t equals = a.find('=');
    if (equals == std::string::npos) {
      shapes.push_back(parse(argv[i]));
    } else if (options.count(a.substr(0, equals)) > 0) {
      options[a.substr(0, equals)] = a.substr(equals + 1);
    } else {
      std::printf("unknown option '%s'\n", a.c_str());
      return 2;
    }
  }
  const Status ready = prepare_kernels();
  if (!ready.ok()) {
    std::printf("%s\n", ready.message().c_str());
    return 2;
  }
  DeviceLimits limits;
  cudaDeviceProp properties;
  CUDA_OK(cudaGetDeviceProperties(&properties, 0));
  limits.multiprocessors = properties.multiProcessorCount;
  Memory flush(kFlushBytes);
  limits.bytes_per_second = copy_bandwidth(flush);
  std::printf("%s, %d multiprocessors, copy %.0f GB/s\n", properties.name,
              properties.multiProcessorCount, limits.bytes_per_second / 1e9);
  Variant v;
  v.reps = std::atoi(options["reps"].c_str());
  v.graph = options["graph"] == "1";
  v.tables = options["tables"] == "1";
  if (options["dtype"] == "f32") v.dtype = DType::kF32;
  for (const std::string& w : split_text(options["what"], ',')) {
    v.backward = w == "backward";
    for (const Shape& s : shapes) {
      for (const std::string& split : split_text(options["split"], ',')) {
        for (const std::string& slope : split_text(options["slopes"], ',')) {
          for (const std::string& states : split_text(options["states"], ',')) {
            v.slopes = std::atof(slope.c_str());
            v.states = states == "1";
            v.split = split == "all"     ? std::optional(Split::kAll)
                      : split == "none"  ? std::optional(Split::kNone)
                      : split == "state" ? std::optional(Split::kState)
                                         : std::nullopt;
            bench(s, limits, flush, v);
          }
        }
      }
    }
  }
  return 0;
}
