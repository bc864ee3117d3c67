// Times plans of one attention call beside one another: every repetition runs each of them in turn
// on the same operands, with a cold L2, so that neither clocks nor where the tensors lie prefer
// one.
//   cuda_plans BxTxHxK[xV] first|half|zero forward|backward [reps=N] [KERNEL:SEGMENTS:RUNS]...
// A part of a candidate may be empty: the plan then chooses. Without candidates: what the plan
// chooses for each kernel. A * stands before what it chooses of them all.
#include "check_case.cuh"
#include "timing.cuh"

namespace tnl::cuda::device_test {
namespace {

struct Candidate {
  std::string name;
  Plan plan;
  Memory workspace;
  std::vector<float> ms;
};

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "cuda_plans: %s\n", message.c_str());
  std::exit(2);
}

Case parse_shape(const std::string& text, const std::string& slopes, const std::string& pass) {
  Case c;
  long long n = 0, t = 0;
  const int found = std::sscanf(text.c_str(), "%lldx%lldx%dx%dx%d", &n, &t, &c.H, &c.K, &c.V);
  if (found < 4) fail("found the shape '" + text + "', expected BxTxHxK or BxTxHxKxV");
  if (found == 4) c.V = c.K;
  c.N = n;
  c.T = t;
  c.state_in = c.state_out = false;
  if (slopes == "zero") {
    c.slopes = {0.0};
  } else if (slopes == "half") {
    for (float x : alibi_log_decay(c.H, 0.5)) c.slopes.push_back(-x);
  } else if (slopes != "first") {
    fail("found the slopes '" + slopes + "', expected first, half or zero");
  }
  if (pass != "forward" && pass != "backward") {
    fail("found the pass '" + pass + "', expected forward or backward");
  }
  c.call = pass == "forward" ? Call::kForward : Call::kBackward;
  return c;
}

PlanOptions parse_candidate(const std::string& text) {
  const std::size_t first = text.find(':'), second = text.find(':', first + 1);
  if (first == std::string::npos || second == std::string::npos) {
    fail("found the plan '" + text + "', expected KERNEL:SEGMENTS:RUNS");
  }
  PlanOptions options;
  options.kernel = text.substr(0, first);
  options.segments = text.substr(first + 1, second - first - 1);
  options.runs = std::atoi(text.c_str() + second + 1);
  return options;
}

DeviceLimits device_limits() {
  DeviceLimits limits;
  CUDA_OK(cudaDeviceGetAttribute(&limits.multiprocessors, cudaDevAttrMultiProcessorCount, 0));
  int kilohertz = 0, bits = 0;
  CUDA_OK(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrMemoryClockRate, 0));
  CUDA_OK(cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, 0));
  limits.bytes_per_second = 0.885 * 2.0 * 1e3 * kilohertz * bits / 8;  // as device_query.cc
  return limits;
}

// The floor: what a pass has to read and write once.
double floor_bytes(const Case& c) {
  const double width = c.call == Call::kForward ? 2.0 * (c.K + c.V) : 4.0 * c.K + 3.0 * c.V;
  return 2.0 * width * static_cast<double>(c.N * c.T * c.H);
}

void measure(std::vector<Candidate>& candidates, std::span<const AttentionProblem> problems,
             const Memory& flush, int reps) {
  for (int i = 0; i < reps; ++i) {
    for (Candidate& x : candidates) {
      x.ms.push_back(static_cast<float>(median_ms(flush, 1, [&] {
        const Status status = run_attention(problems, x.plan, x.workspace.get(), nullptr);
        if (!status.ok()) fail(x.name + ": " + status.message());
      })));
    }
  }
  for (Candidate& x : candidates) std::sort(x.ms.begin(), x.ms.end());
}

}  // namespace
}  // namespace tnl::cuda::device_test

int main(int argc, char** argv) {
  using namespace tnl;
  using namespace tnl::cuda;
  using namespace tnl::cuda::device_test;
  if (argc < 4) fail("expected a shape, slopes and a pass");
  const Case c = parse_shape(argv[1], argv[2], argv[3]);
  int reps = 9;
  std::vector<std::string> names;
  for (int i = 4; i < argc; ++i) {
    if (std::strncmp(argv[i], "reps=", 5) == 0) {
      reps = std::max(1, std::atoi(argv[i] + 5));
    } else {
      names.push_back(argv[i]);
    }
  }
  if (names.empty()) {
    for (Kernel kernel : kSweeps) {
      if (c.K <= kTile * sweep_shape(kernel, Split::kState).key_tiles) {
        names.push_back(std::string(kernel_name(kernel)) + "::");
      }
    }
  }
  names.insert(names.begin(), "::");
  const Status ready = prepare_kernels();
  if (!ready.ok()) fail(ready.message());
  Operands x;
  const std::vector<AttentionProblem> problems = build(c, x);
  const Memory flush(kFlushBytes);
  const double copy = copy_bandwidth(flush);
  const DeviceLimits limits = device_limits();
  std::vector<Candidate> candidates;
  for (const std::string& name : names) {
    Result<Plan> plan = plan_attention(problems, limits, parse_candidate(name));
    if (!plan.ok()) {
      std::printf("%s: %s\n", name.c_str(), plan.status().message().c_str());
      continue;
    }
    Candidate& added = candidates.emplace_back();
    added.name = name;
    added.workspace = Memory(plan->workspace_bytes);
    added.plan = std::move(*plan);
  }
  measure(candidates, problems, flush, reps);
  const double floor = floor_bytes(c) / copy * 1e3;
  std::printf("%s %s %s, copy %.0f GB/s, floor %.1f us\n", argv[1], argv[2], argv[3], copy / 1e9,
              1e3 * floor);
  for (const Candidate& y : candidates) {
    double model = 0;
    for (const LaunchPlan& launch : y.plan.launches) model += 1e3 * launch.estimated_seconds;
    const double median = y.ms[y.ms.size() / 2];
    std::printf("%-28s %8.1f us (%.1f to %.1f) %.3f of the floor, model %.3f  [%s]\n",
                y.name.c_str(), 1e3 * median, 1e3 * y.ms.front(), 1e3 * y.ms.back(), median / floor,
                model / floor, y.plan.describe().c_str());
  }
  return 0;
}
