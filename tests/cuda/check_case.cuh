// One call of the operator on the device, as a check describes it, and its operands.
#pragma once

#include "support.cuh"

namespace tnl::cuda::device_test {

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

inline std::vector<AttentionProblem> build(const Case& c, Operands& x) {
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
inline bool gaps_untouched(const AttentionProblem& p, std::int64_t pad) {
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

inline std::vector<unsigned char> download(const Operands& x) {
  std::vector<unsigned char> all;
  for (const Memory& m : x.memory) {
    const std::size_t at = all.size();
    all.resize(at + m.bytes());
    CUDA_OK(cudaMemcpy(all.data() + at, m.get(), m.bytes(), cudaMemcpyDeviceToHost));
  }
  return all;
}

}  // namespace tnl::cuda::device_test
