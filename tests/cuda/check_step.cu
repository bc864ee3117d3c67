// Checks the decode step on the device: against the recurrence in fp64, and the ways of running it
// against each other bit for bit. Exit status 1 if a case failed.
//   check_step [small]
// small: one type and two shapes, for the sanitizers.
#include <numeric>

#include "support.cuh"

namespace tnl::cuda::device_test {
namespace {

constexpr int kSequences = 3, kHeads = 5, kTokens = 13, kPool = 8;

struct Case {
  DType dtype;
  int K, V, columns;
};

template <class T>
Memory to_device(const std::vector<T>& x) {
  Memory m(sizeof(T) * x.size());
  CUDA_OK(cudaMemcpy(m.get(), x.data(), sizeof(T) * x.size(), cudaMemcpyHostToDevice));
  return m;
}

std::vector<unsigned char> bytes_of(const Memory& m) {
  std::vector<unsigned char> x(m.bytes());
  CUDA_OK(cudaMemcpy(x.data(), m.get(), x.size(), cudaMemcpyDeviceToHost));
  return x;
}

// q, k, v of kSequences sequences of kTokens tokens, and a pool of states.
class Session {
 public:
  explicit Session(const Case& c)
      : case_(c),
        size_(c.dtype == DType::kF32 ? 4 : 2),
        decay_(alibi_log_decay(kHeads, 1)),
        q_(bytes(c.K)),
        k_(bytes(c.K)),
        v_(bytes(c.V)),
        o_(bytes(c.V)),
        pool_(std::size_t{4} * kPool * kHeads * c.K * c.V) {
    const AttentionProblem p = problem(0, kTokens);
    for (int n = 0; n < kSequences; ++n) {
      fill(p, p.q, c.K, Fill::kNormal, 1, n);
      fill(p, p.k, c.K, Fill::kNormal, 2, n);
      fill(p, p.v, c.V, Fill::kNormal, 3, n);
    }
    reset();
  }
  void reset() {
    std::vector<float> x(pool_.bytes() / 4);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(static_cast<int>((i * 2654435761u >> 13) % 7) - 3);
    }
    CUDA_OK(cudaMemcpy(pool_.get(), x.data(), pool_.bytes(), cudaMemcpyHostToDevice));
    CUDA_OK(cudaMemset(o_.get(), 0xff, o_.bytes()));
  }
  AttentionOperand operand(const Memory& m, int columns, int first) const {
    const std::int64_t token = std::int64_t{kHeads} * columns;
    return {static_cast<char*>(m.get()) + size_ * first * token, kTokens * token, token, columns};
  }
  AttentionProblem problem(int first, int tokens) const {
    AttentionProblem p;
    p.dtype = case_.dtype;
    p.sequences = kSequences;
    p.heads = kHeads;
    p.key_dim = case_.K;
    p.value_dim = case_.V;
    p.tokens = tokens;
    p.log_decay = decay_.data();
    p.out_scale = 0.5;
    p.value_scale = 2;
    p.q = operand(q_, case_.K, first);
    p.k = operand(k_, case_.K, first);
    p.v = operand(v_, case_.V, first);
    p.o = operand(o_, case_.V, first);
    p.state_in = p.state_out = {pool_.get(), std::int64_t{kHeads} * case_.K * case_.V,
                                std::int64_t{case_.K} * case_.V, case_.V, 1};
    return p;
  }
  bool step(int first, int tokens, const AttentionStep& options, const float* decay = nullptr,
            cudaStream_t stream = nullptr) const {
    const Status status = run_step(problem(first, tokens), options, stream,
                                   {.decay = decay, .columns = case_.columns});
    if (!status.ok()) std::printf("     %s\n", status.message().c_str());
    return status.ok();
  }
  std::vector<unsigned char> outputs() const { return bytes_of(o_); }
  std::vector<unsigned char> states() const { return bytes_of(pool_); }
  const Memory& pool() const { return pool_; }
  const std::vector<float>& log_decay() const { return decay_; }

  // Bytes of the outputs of tokens first .. last of sequence n.
  std::vector<unsigned char> outputs_of(int n, int first, int last) const {
    const std::vector<unsigned char> all = outputs();
    const std::size_t token = static_cast<std::size_t>(size_) * kHeads * case_.V;
    return {all.begin() + static_cast<std::ptrdiff_t>((n * kTokens + first) * token),
            all.begin() + static_cast<std::ptrdiff_t>((n * kTokens + last) * token)};
  }

 private:
  std::size_t bytes(int columns) const {
    return static_cast<std::size_t>(size_) * kSequences * kTokens * kHeads * columns;
  }
  Case case_;
  int size_;
  std::vector<float> decay_;
  Memory q_, k_, v_, o_, pool_;
};

const std::vector<std::int64_t> kSlots{6, 0, 3};

bool report(const Case& c, const char* what, bool ok, const char* more = "") {
  std::printf("%s step %s %dx%d columns %d %s%s\n", ok ? "ok  " : "FAIL",
              c.dtype == DType::kF32    ? "f32"
              : c.dtype == DType::kBF16 ? "bf16"
                                        : "f16",
              c.K, c.V, c.columns, what, more);
  return ok;
}

// Token by token, then against fp64.
bool check_recurrence(const Case& c) {
  Session x(c);
  AttentionProblem whole = x.problem(0, kTokens);
  Memory begin(x.pool().bytes());  // the states as they were, and as they become
  CUDA_OK(cudaMemcpy(begin.get(), x.pool().get(), begin.bytes(), cudaMemcpyDeviceToDevice));
  bool ok = true;
  for (int t = 0; t < kTokens; ++t) ok &= x.step(t, 1, {});
  whole.state_in.data = begin.get();
  Sums o{}, s{};
  compare(whole, -1, o, s);
  const double error = std::sqrt(o.error / o.norm), state = std::sqrt(s.error / s.norm);
  char line[80];
  std::snprintf(line, sizeof(line), ": o %.2e S %.2e", error, state);
  return report(c, "against fp64",
                ok && error < (c.dtype == DType::kF32 ? 1e-6 : 3e-3) && state < 1e-6, line);
}

// Several tokens at once, and slots and decays from either side, give the bits of single steps.
bool check_ways(const Case& c) {
  Session x(c);
  bool ok = true;
  for (int t = 0; t < kTokens; ++t) ok &= x.step(t, 1, {.slots = kSlots});
  const auto outputs = x.outputs(), states = x.states();
  const auto same = [&] {
    const bool equal = ok && outputs == x.outputs() && states == x.states();
    x.reset();
    return equal;
  };
  x.reset();
  for (int t = 0, n = 0; t < kTokens; t += n) {
    n = std::min(t == 0 ? 3 : t == 3 ? 8 : 2, kTokens - t);
    ok &= x.step(t, n, {.slots = kSlots});
  }
  const bool several = report(c, "several tokens at once", same());

  const Memory slots = to_device(std::vector<std::int32_t>{6, 0, 3});
  std::vector<float> lambda;
  for (float d : x.log_decay()) lambda.push_back(static_cast<float>(std::exp2(log2_decay(d))));
  const Memory decay = to_device(lambda);
  const AttentionStep on_device{.device_slots = static_cast<const std::int32_t*>(slots.get())};
  const auto* decays = static_cast<const float*>(decay.get());
  for (int t = 0; t < kTokens; ++t) ok &= x.step(t, 1, on_device, decays);
  const bool device = report(c, "tables on the device", same());

  // Captured with other slots, one of them absent; replayed with those of above.
  const Memory changing = to_device(std::vector<std::int32_t>{2, -1, 7});
  const AttentionStep captured{.device_slots = static_cast<const std::int32_t*>(changing.get())};
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreate(&stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  ok &= x.step(0, 8, captured, decays, stream) && x.step(8, kTokens - 8, captured, decays, stream);
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
  CUDA_OK(cudaGraphLaunch(exec, stream));
  CUDA_OK(cudaStreamSynchronize(stream));
  const std::vector<unsigned char> absent = x.outputs_of(1, 0, kTokens);
  const bool skipped = report(c, "absent slot",
                              ok && std::count(absent.begin(), absent.end(), 0xff) ==
                                        static_cast<std::ptrdiff_t>(absent.size()));
  x.reset();
  CUDA_OK(cudaMemcpy(changing.get(), slots.get(), 4 * kSequences, cudaMemcpyDeviceToDevice));
  CUDA_OK(cudaGraphLaunch(exec, stream));
  CUDA_OK(cudaStreamSynchronize(stream));
  const bool replayed = report(c, "graph with other slots", same());
  CUDA_OK(cudaGraphExecDestroy(exec));
  CUDA_OK(cudaGraphDestroy(graph));
  CUDA_OK(cudaStreamDestroy(stream));
  return several && device && skipped && replayed;
}

// Speculative decoding: five tokens are tried, some of them accepted, and the next ones tried from
// there; the tokens of a sequence lie one after the other, so that its accepted ones are followed
// by others than in the plain order. Sequence by sequence against single steps.
bool check_speculation(const Case& c) {
  constexpr int kTried = 5, kNext = 6;
  const std::vector<std::int32_t> accepted{0, 3, 5};
  const Memory count = to_device(accepted);
  Session x(c);
  const std::vector<unsigned char> before = x.states();
  bool ok = x.step(0, kTried, {.keep_state = false}) && before == x.states();
  std::vector<std::vector<unsigned char>> tried, next;
  for (int n = 0; n < kSequences; ++n) tried.push_back(x.outputs_of(n, 0, kTried));
  const AttentionProblem p = x.problem(0, kTried);
  AttentionStep verify{.keep_state = false};
  verify.replay = {p.k, p.v, kTried, static_cast<const std::int32_t*>(count.get())};
  ok &= x.step(kTried, kNext, verify);
  for (int n = 0; n < kSequences; ++n) next.push_back(x.outputs_of(n, kTried, kTried + kNext));
  const std::vector<unsigned char> after = x.states();
  // What was accepted, alone: no tokens of its own.
  x.reset();
  ok &= x.step(kTried, 0, verify) && after == x.states();
  // Kept: the tokens behind what was accepted enter too.
  x.reset();
  AttentionStep keep = verify;
  keep.keep_state = true;
  ok &= x.step(kTried, kNext, keep);
  const std::vector<unsigned char> kept = x.states();
  const std::size_t state = before.size() / kPool;
  for (int n = 0; n < kSequences; ++n) {
    const auto same_state = [&](const std::vector<unsigned char>& a) {
      const std::vector<unsigned char> b = x.states();
      return std::equal(a.begin() + static_cast<std::ptrdiff_t>(n * state),
                        a.begin() + static_cast<std::ptrdiff_t>((n + 1) * state),
                        b.begin() + static_cast<std::ptrdiff_t>(n * state));
    };
    x.reset();
    for (int t = 0; t < kTried; ++t) ok &= x.step(t, 1, {});
    ok &= tried[n] == x.outputs_of(n, 0, kTried);
    x.reset();
    for (int t = 0; t < accepted[n]; ++t) ok &= x.step(t, 1, {});
    ok &= same_state(after);
    for (int t = kTried; t < kTried + kNext; ++t) ok &= x.step(t, 1, {});
    ok &= next[n] == x.outputs_of(n, kTried, kTried + kNext) && same_state(kept);
  }
  return report(c, "speculation", ok);
}

}  // namespace
}  // namespace tnl::cuda::device_test

int main(int argc, char** argv) {
  using namespace tnl;
  using namespace tnl::cuda;
  using namespace tnl::cuda::device_test;
  const bool small = argc > 1 && std::string(argv[1]) == "small";
  int failed = 0, count = 0;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (auto [K, V] : {std::pair{128, 128},
                        {64, 64},
                        {256, 128},
                        {256, 256},
                        {96, 200},
                        {10, 12},
                        {400, 36},
                        {7, 5}}) {
      for (int columns : {0, 16, 128}) {
        if (columns > 0 && K != 128 && K != 96) continue;
        if (small && (dtype != DType::kBF16 || (K != 96 && K != 7))) continue;
        const Case c{dtype, K, V, columns};
        count += 3;
        failed += !check_recurrence(c);
        failed += !check_ways(c);
        failed += !check_speculation(c);
      }
    }
  }
  std::printf("%d of %d cases failed\n", failed, count);
  return failed > 0;
}
