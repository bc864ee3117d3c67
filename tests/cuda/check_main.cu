// Checks every kernel and plan on the device against the recurrence in fp64, a line a case; a case
// that fails does not stop the others. Exit status 1 if one did.
//   check [filter] [small] [older]
// older: what the plan gives devices other than Hopper, in place of its own kernels.
//
// The tests of the library (tests/attention) run on the device too, as planned, in every storage
// type. Here each kernel is forced, in each way of cutting, on its own.
#include "check_bits.cuh"

namespace tnl::cuda::device_test {
namespace {

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
  const std::vector<Case> all =
      cases(small, older ? std::span<const Sweep>(kOlderShapes) : std::span<const Sweep>(kShapes));
  for (const Case& c : all) {
    if (c.name.find(filter) == std::string::npos) continue;
    if (older && c.options.kernel == "chunk128") continue;  // Hopper's own
    ++count;
    failed += !run(c, limits, count % 3 == 0 && !small);
  }
  if (!older && std::string("same bits").find(filter) != std::string::npos) {
    failed += check_same_bits(limits, count);
  }
  std::printf("%d of %d cases failed\n", failed, count);
  return failed > 0;
}
