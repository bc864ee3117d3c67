// Times attention on a GPU: median of repetitions with a cold L2 (flushed by reading), beside the
// floor: every input read once and every output written once at this run's copy bandwidth.
//   bench [BxTxHxK[xV][:plan]] ... [slopes=1,0.5,1e-5] [split=auto,state,all,none] [reps=15]
//         [what=forward,backward,step] [states=0,1] [graph=0] [tables=0] [skew=0]
// plan: kernel/segments/runs, each may be empty. A shape that starts with v is a packed batch: B
// sequences of 100 to T tokens. states: initial and final ones too, counted in the floor. graph:
// the time of a replay; tables: with the plan's tables uploaded before.
#include <map>

#include "support.cuh"

namespace tnl::cuda::device_test {
namespace {

constexpr std::size_t kFlushBytes = 256u << 20;

__global__ void read_kernel(const uint4* p, std::size_t n, unsigned* out) {
  unsigned x = 0;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const uint4 y = p[i];
    x ^= y.x ^ y.y ^ y.z ^ y.w;
  }
  if (x == 0x12345678u) *out = x;
}

struct Times {
  double median = 0, least = 0;
};

Times measure(const Memory& flush, int reps, const std::function<void()>& body) {
  cudaEvent_t start, stop;
  CUDA_OK(cudaEventCreate(&start));
  CUDA_OK(cudaEventCreate(&stop));
  std::vector<float> times;
  for (int i = 0; i < reps + 2; ++i) {
    read_kernel<<<1056, 256>>>(static_cast<const uint4*>(flush.get()), kFlushBytes / 16,
                               static_cast<unsigned*>(flush.get()));
    CUDA_OK(cudaEventRecord(start));
    body();
    CUDA_OK(cudaEventRecord(stop));
    CUDA_OK(cudaEventSynchronize(stop));
    CUDA_OK(cudaGetLastError());
    float ms;
    CUDA_OK(cudaEventElapsedTime(&ms, start, stop));
    if (i >= 2) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return {times[times.size() / 2], times[0]};
}

double median_ms(const Memory& flush, int reps, const std::function<void()>& body) {
  return measure(flush, reps, body).median;
}

// Replays `body` from a graph: the time without the host's.
Times measure_graph(const Memory& flush, int reps, const std::function<void(cudaStream_t)>& body) {
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreate(&stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  body(stream);
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
  const Times ms = measure(flush, reps, [&] { CUDA_OK(cudaGraphLaunch(exec, nullptr)); });
  CUDA_OK(cudaGraphExecDestroy(exec));
  CUDA_OK(cudaGraphDestroy(graph));
  CUDA_OK(cudaStreamDestroy(stream));
  return ms;
}

// A GPU that was idle needs a while until its clocks are up: 0.3 s of reading.
void warm_up(const Memory& flush) {
  for (int i = 0; i < 3000; ++i) {
    read_kernel<<<1056, 256>>>(static_cast<const uint4*>(flush.get()), kFlushBytes / 16,
                               static_cast<unsigned*>(flush.get()));
  }
  CUDA_OK(cudaDeviceSynchronize());
}

double copy_bandwidth(const Memory& flush) {
  const std::size_t bytes = std::size_t{1} << 30;
  Memory a(bytes), b(bytes);
  return 2.0 * bytes /
         median_ms(
             flush, 9,
             [&] { CUDA_OK(cudaMemcpyAsync(b.get(), a.get(), bytes, cudaMemcpyDeviceToDevice)); }) *
         1e3;
}

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
  std::size_t skew = 0;
  int reps = 15;
};

AttentionProblem problem(const Shape& s, const std::vector<float>& decay) {
  AttentionProblem p;
  p.dtype = DType::kBF16;
  p.sequences = s.B;
  p.tokens = s.cu_seqlens.empty() ? s.T : 0;
  p.cu_seqlens = s.cu_seqlens;
  p.heads = s.H;
  p.log_decay = decay.data();
  return p;
}

AttentionOperand operand(const Shape& s, const Memory& m, int columns, std::size_t skew = 0) {
  return {static_cast<char*>(m.get()) + skew, s.cu_seqlens.empty() ? s.T * s.H * columns : 0,
          std::int64_t{s.H} * columns, columns};
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
  const std::size_t key = 2u * s.rows() * s.H * s.K, value = 2u * s.rows() * s.H * s.V;
  const std::size_t skew = what.skew;
  Tensors t{Memory(key), Memory(key + skew), Memory(value + 2 * skew), Memory(value + 3 * skew)};
  AttentionProblem p = problem(s, decay);
  p.key_dim = s.K;
  p.value_dim = s.V;
  p.q = operand(s, t.q, s.K);
  p.k = operand(s, t.k, s.K, skew);
  p.v = operand(s, t.v, s.V, 2 * skew);
  p.o = operand(s, t.o, s.V, 3 * skew);
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
  const Times times = what.graph ? measure_graph(flush, what.reps, run)
                                 : measure(flush, what.reps, [&] { run(nullptr); });
  const double ms = times.median;
  const double floor = bytes / limits.bytes_per_second * 1e3;
  double model = 0;
  for (const LaunchPlan& l : plan->launches) model += l.estimated_seconds * 1e3;
  const std::string name = s.name.substr(0, s.name.find(':'));
  std::printf("%s %-17s%s%s x%-5g %8.4f ms  x%.3f (least %.3f)  model x%.3f [%s]\n",
              what.backward ? "bwd" : "fwd", name.c_str(), what.states ? " S" : "",
              what.graph ? " graph" : "", what.slopes, ms, ms / floor, times.least / floor,
              model / floor, plan->describe().c_str());
  std::fflush(stdout);
}

void bench_step(int N, int H, int K, int V, const DeviceLimits& limits, const Memory& flush,
                int reps) {
  const Shape s{N, 1, H, K, V, "", "", {}};
  const std::vector<float> decay = alibi_log_decay(H, 1);
  Memory q(2u * N * H * K), k(2u * N * H * K), v(2u * N * H * V), o(2u * N * H * V);
  const std::size_t state_bytes = std::size_t{4} * N * H * K * V;
  Memory state(state_bytes);
  CUDA_OK(cudaMemset(state.get(), 0, state_bytes));
  AttentionProblem p = problem(s, decay);
  p.key_dim = K;
  p.value_dim = V;
  p.q = operand(s, q, K);
  p.k = operand(s, k, K);
  p.v = operand(s, v, V);
  p.o = operand(s, o, V);
  for (int n = 0; n < N; ++n) {
    fill(p, p.q, K, Fill::kNormal, 1, n);
    fill(p, p.k, K, Fill::kNormal, 2, n);
    fill(p, p.v, V, Fill::kNormal, 3, n);
  }
  p.state_in = p.state_out = {state.get(), std::int64_t{H} * K * V, std::int64_t{K} * V, V, 1};
  const Times times = measure_graph(flush, reps, [&](cudaStream_t stream) {
    const Status status = run_step(p, {}, stream);
    if (!status.ok()) std::printf("%s\n", status.message().c_str());
  });
  const double ms = times.median;
  const double floor = 2.0 * state_bytes / limits.bytes_per_second * 1e3;
  std::printf("step N %4d H %d %dx%d  %8.4f ms  floor %.4f  x%.3f  %5.0f GB/s\n", N, H, K, V, ms,
              floor, ms / floor, 2.0 * state_bytes / ms / 1e6);
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
                                             {"tables", "0"},     {"skew", "0"}};
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
  warm_up(flush);
  limits.bytes_per_second = copy_bandwidth(flush);
  std::printf("%s, %d multiprocessors, copy %.0f GB/s\n", properties.name,
              properties.multiProcessorCount, limits.bytes_per_second / 1e9);
  Variant v;
  v.reps = std::atoi(options["reps"].c_str());
  v.graph = options["graph"] == "1";
  v.tables = options["tables"] == "1";
  v.skew = static_cast<std::size_t>(std::atoll(options["skew"].c_str()));
  for (const std::string& w : split_text(options["what"], ',')) {
    if (w == "step") {
      for (auto [N, H] : {std::pair{1, 16}, {64, 16}, {256, 16}, {64, 64}}) {
        bench_step(N, H, 128, 128, limits, flush, v.reps);
        bench_step(N, H, 64, 64, limits, flush, v.reps);
      }
      continue;
    }
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
