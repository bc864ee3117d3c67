// Times the decode step on a GPU from a replayed graph with a cold L2, beside what bounds it: the
// same bytes read and written in place by a kernel that does nothing else, and an empty kernel.
//   bench_step [reps=25]
#include "support.cuh"
#include "timing.cuh"

namespace tnl::cuda::device_test {
namespace {

__global__ void empty_kernel() {}

// x = a x in place, as many bytes in flight as the step has.
__global__ void __launch_bounds__(128) in_place_kernel(float4* x, std::size_t n, float a) {
  constexpr int kFlight = 8;
  const std::size_t first = blockIdx.x * std::size_t{128 * kFlight} + threadIdx.x;
  float4 y[kFlight];
#pragma unroll
  for (int i = 0; i < kFlight; ++i) {
    if (first + i * 128 < n) y[i] = x[first + i * 128];
  }
#pragma unroll
  for (int i = 0; i < kFlight; ++i) {
    if (first + i * 128 < n) {
      x[first + i * 128] = make_float4(a * y[i].x, a * y[i].y, a * y[i].z, a * y[i].w);
    }
  }
}

struct Shape {
  int N, H, K, V;
};

struct Call {
  int tokens = 1, columns = 0, replayed = 0;
  bool keep = true;
};

// The operands of `layers` steps, each with its own states.
class Steps {
 public:
  Steps(const Shape& s, int layers)
      : shape_(s),
        layers_(layers),
        decay_(alibi_log_decay(s.H, 1)),
        keys_(2u * kRows * s.N * s.H * s.K),
        values_(2u * kRows * s.N * s.H * s.V),
        out_(2u * kRows * s.N * s.H * s.V),
        state_(state_bytes() * layers),
        slots_(sizeof(std::int32_t) * s.N),
        accepted_(sizeof(std::int32_t) * s.N),
        decays_(sizeof(float) * s.H) {
    CUDA_OK(cudaMemset(keys_.get(), 0x3c, keys_.bytes()));
    CUDA_OK(cudaMemset(values_.get(), 0x3c, values_.bytes()));
    CUDA_OK(cudaMemset(state_.get(), 0, state_.bytes()));
    std::vector<std::int32_t> slots(s.N), accepted(s.N);
    for (int n = 0; n < s.N; ++n) slots[n] = s.N - 1 - n, accepted[n] = n % (kMostStepTokens + 1);
    std::vector<float> decays;
    for (float x : decay_) decays.push_back(std::exp(x));
    const auto copy = [](const Memory& to, const auto& from) {
      CUDA_OK(cudaMemcpy(to.get(), from.data(), to.bytes(), cudaMemcpyHostToDevice));
    };
    copy(slots_, slots);
    copy(accepted_, accepted);
    copy(decays_, decays);
  }
  std::size_t state_bytes() const {
    return std::size_t{4} * shape_.N * shape_.H * shape_.K * shape_.V;
  }
  float4* states(int layer) const {
    return reinterpret_cast<float4*>(static_cast<char*>(state_.get()) + layer * state_bytes());
  }
  void run(const Call& c, cudaStream_t stream) const {
    const auto& [N, H, K, V] = shape_;
    const auto operand = [&](const Memory& x, int columns) {
      return AttentionOperand{x.get(), std::int64_t{kMostStepTokens} * H * columns,
                              std::int64_t{H} * columns, columns};
    };
    AttentionProblem p;
    p.dtype = DType::kBF16;
    p.sequences = N;
    p.tokens = c.tokens;
    p.heads = H;
    p.key_dim = K;
    p.value_dim = V;
    p.log_decay = decay_.data();
    p.q = p.k = operand(keys_, K);
    p.v = operand(values_, V);
    p.o = operand(out_, V);
    AttentionStep step{.device_slots = static_cast<const std::int32_t*>(slots_.get()),
                       .keep_state = c.keep};
    const StepTuning tuning{.decay = static_cast<const float*>(decays_.get()),
                            .columns = c.columns};
    if (c.replayed > 0) {
      step.replay = {p.k, p.v, c.replayed, static_cast<const std::int32_t*>(accepted_.get())};
    }
    for (int i = 0; i < layers_; ++i) {
      p.state_in = p.state_out = {states(i), std::int64_t{H} * K * V, std::int64_t{K} * V, V, 1};
      const Status status = run_step(p, step, stream, tuning);
      if (!status.ok()) std::printf("%s\n", status.message().c_str());
    }
  }

 private:
  static constexpr int kRows = kMostStepTokens;
  Shape shape_;
  int layers_;
  std::vector<float> decay_;
  Memory keys_, values_, out_, state_, slots_, accepted_, decays_;
};

void bench(const Shape& s, const std::vector<Call>& calls, int layers, const Memory& flush,
           int reps) {
  const Steps steps(s, layers);
  const double in_place = graph_ms(flush, reps, [&](cudaStream_t stream) {
    const std::size_t n = steps.state_bytes() / 16;
    for (int i = 0; i < layers; ++i) {
      in_place_kernel<<<static_cast<unsigned>((n + 1023) / 1024), 128, 0, stream>>>(steps.states(i),
                                                                                    n, 0.999f);
    }
  });
  for (const Call& c : calls) {
    const double ms = graph_ms(flush, reps, [&](cudaStream_t stream) { steps.run(c, stream); });
    std::printf(
        "step N %3d H %2d %3dx%-3d tokens %d columns %3d replay %d %s layers %2d: %8.2f us a "
        "layer, "
        "in place %8.2f, %5.1f %% of its %5.0f GB/s\n",
        s.N, s.H, s.K, s.V, c.tokens, c.columns, c.replayed, c.keep ? "keep " : "leave", layers,
        1e3 * ms / layers, 1e3 * in_place / layers, 100 * in_place / ms,
        2.0 * layers * steps.state_bytes() / in_place / 1e6);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace tnl::cuda::device_test

int main(int argc, char** argv) {
  using namespace tnl::cuda::device_test;
  const int reps = argc > 1 && std::strncmp(argv[1], "reps=", 5) == 0 ? std::atoi(argv[1] + 5) : 25;
  cudaDeviceProp properties;
  CUDA_OK(cudaGetDeviceProperties(&properties, 0));
  Memory flush(kFlushBytes);
  std::printf("%s, copy %.0f GB/s\n", properties.name, copy_bandwidth(flush) / 1e9);
  for (int count : {1, 32}) {
    const double ms = graph_ms(flush, reps, [&](cudaStream_t stream) {
      for (int i = 0; i < count; ++i) empty_kernel<<<1, 32, 0, stream>>>();
    });
    std::printf("%2d empty kernels in a graph: %.2f us each\n", count, 1e3 * ms / count);
  }
  std::vector<Call> widths{{.columns = 16}, {.columns = 32}, {.columns = 64}, {.columns = 128}};
  const std::vector<Call> one{{}};
  std::vector<Call> all = widths;
  all.push_back({});
  all.push_back({.tokens = 4});
  all.push_back({.tokens = 8});
  all.push_back({.tokens = 8, .replayed = 8, .keep = false});
  for (int layers : {1, 24}) bench({1, 16, 128, 128}, all, layers, flush, reps);
  bench({4, 16, 128, 128}, all, 8, flush, reps);
  bench({16, 16, 128, 128}, all, 4, flush, reps);
  bench({64, 16, 128, 128}, all, 1, flush, reps);
  bench({256, 16, 128, 128}, all, 1, flush, reps);
  bench({64, 64, 128, 128}, one, 1, flush, reps);
  bench({64, 16, 64, 64}, one, 1, flush, reps);
  bench({256, 16, 64, 64}, one, 1, flush, reps);
  bench({64, 16, 256, 128}, one, 1, flush, reps);
  bench({64, 16, 256, 256}, one, 1, flush, reps);
  bench({64, 16, 96, 96}, one, 1, flush, reps);
  return 0;
}
