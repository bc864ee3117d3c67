// Times the model's operations on a GPU, bf16, at the sizes of one micro-batch: median of
// repetitions, GB/s against the floor (every input read once, every output written once) and the
// share of this run's copy bandwidth; matrix products in TFLOP/s.
//   cuda_ops [tokens=32768] [width=1024] [glu=2816] [vocab=64000] [reps=11]
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ops/matmul.h"
#include "backend/cuda/ops/ops.h"

namespace tnl::cuda {
namespace {

void require(const Status& status) {
  if (status.ok()) return;
  std::printf("%s\n", status.message().c_str());
  std::exit(1);
}
void require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("%s\n", cudaGetErrorString(error));
  std::exit(1);
}

__global__ void fill_kernel(__nv_bfloat16* x, std::size_t count, unsigned seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    unsigned h = static_cast<unsigned>(i) * 2654435761u + seed;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    x[i] = __float2bfloat16((static_cast<float>(h & 0xffff) - 32768.f) / 16384.f);
  }
}

class Bench {
 public:
  explicit Bench(int reps) : reps_(reps) {
    require(cudaEventCreate(&start_));
    require(cudaEventCreate(&stop_));
  }

  void* memory(std::size_t bytes) {
    void* data = nullptr;
    require(cudaMalloc(&data, bytes));
    fill_kernel<<<1024, 256>>>(static_cast<__nv_bfloat16*>(data), bytes / 2, seed_++);
    require(cudaGetLastError());
    return data;
  }
  Matrix matrix(std::int64_t rows, std::int64_t cols, DType dtype = DType::kBF16) {
    const auto bytes = static_cast<std::size_t>(rows * cols * dtype_size(dtype));
    return Matrix::contiguous(memory(bytes), dtype, rows, cols);
  }

  double seconds(const std::function<Status()>& body) {
    std::vector<float> times;
    for (int i = 0; i < reps_ + 2; ++i) {
      require(cudaEventRecord(start_));
      require(body());
      require(cudaEventRecord(stop_));
      require(cudaEventSynchronize(stop_));
      float ms = 0;
      require(cudaEventElapsedTime(&ms, start_, stop_));
      if (i >= 2) times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2] * 1e-3;
  }
  void bytes(const char* what, double count, const std::function<Status()>& body) {
    const double time = seconds(body);
    if (copy_ == 0) copy_ = count / time;
    std::printf("%-34s %9.1f us %8.1f GB/s  %5.1f %% of a copy\n", what, time * 1e6,
                count / time * 1e-9, 100 * count / time / copy_);
  }
  void flops(const std::string& what, double count, const std::function<Status()>& body) {
    const double time = seconds(body);
    std::printf("%-34s %9.1f us %8.1f TFLOP/s\n", what.c_str(), time * 1e6, count / time * 1e-12);
  }

 private:
  int reps_;
  double copy_ = 0;
  unsigned seed_ = 1;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

struct Sizes {
  std::int64_t tokens = 32768, width = 1024, glu = 2816, vocab = 64000, reps = 11;
};

void run_rows(Bench& bench, const Sizes& s) {
  const double row = 2.0 * static_cast<double>(s.tokens * s.width);  // bytes of a [tokens, width]
  const Matrix projection = bench.matrix(s.tokens, 4 * s.width);
  const Matrix d_projection = bench.matrix(s.tokens, 4 * s.width);
  const Matrix a = bench.matrix(s.tokens, s.width), b = bench.matrix(s.tokens, s.width);
  const Matrix c = bench.matrix(s.tokens, s.width), d = bench.matrix(s.tokens, s.width);
  const Matrix none;
  const Matrix u = projection.columns(3 * s.width, s.width);
  const Matrix d_u = d_projection.columns(3 * s.width, s.width);
  bench.bytes("copy (cudaMemcpy)", 8 * row, [&] {
    return cuda_status(cudaMemcpyAsync(d_projection.data, projection.data,
                                       static_cast<std::size_t>(4 * row), cudaMemcpyDeviceToDevice),
                       "copy");
  });
  bench.bytes("copy", 2 * row, [&] { return convert(a, b, nullptr); });
  bench.bytes("srmsnorm", 2 * row, [&] { return srmsnorm(a, 1e-6, b, nullptr); });
  bench.bytes("srmsnorm backward", 4 * row,
              [&] { return srmsnorm_backward(a, b, 1e-6, true, c, none, nullptr); });
  bench.bytes("srmsnorm backward, norm again", 5 * row,
              [&] { return srmsnorm_backward(a, b, 1e-6, true, c, d, nullptr); });
  bench.bytes("norm_gate", 3 * row,
              [&] { return norm_gate(GateKind::kLinear, a, u, 1e-6, b, nullptr); });
  bench.bytes("norm_gate backward, again", 6 * row, [&] {
    return norm_gate_backward(GateKind::kLinear, a, u, b, 1e-6, c, d_u, d, nullptr);
  });
  SplitArgs split_args;
  split_args.projection = projection;
  split_args.head_dim = 128;
  split_args.heads = s.width / 128;
  split_args.q = a;
  split_args.k = b;
  split_args.v = c;
  bench.bytes("split", 6 * row, [&] { return split(split_args, nullptr); });
  bench.bytes("split backward", 9 * row,
              [&] { return split_backward(split_args, d_projection, none, nullptr, nullptr); });
  const Matrix theta = bench.matrix(1, s.width), d_theta = bench.matrix(1, s.width, DType::kF32);
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(s.tokens));
  for (std::size_t t = 0; t < numbers.size(); ++t) numbers[t] = static_cast<std::int64_t>(t);
  auto* positions = static_cast<std::int64_t*>(bench.memory(numbers.size() * 8));
  require(cudaMemcpy(positions, numbers.data(), numbers.size() * 8, cudaMemcpyHostToDevice));
  split_args.theta = theta.data;
  split_args.theta_dtype = DType::kBF16;
  split_args.positions = {positions, numbers.size()};
  split_args.q = bench.matrix(s.tokens, 2 * s.width);
  split_args.k = bench.matrix(s.tokens, 2 * s.width);
  void* const workspace = bench.memory(split_backward_workspace(split_args));
  bench.bytes("split with LRPE", 8 * row, [&] { return split(split_args, nullptr); });
  bench.bytes("split with LRPE backward", 11 * row, [&] {
    return split_backward(split_args, d_projection, d_theta, workspace, nullptr);
  });
}

void run_loss(Bench& bench, const Sizes& s) {
  const double glu = 2.0 * static_cast<double>(s.tokens * s.glu);
  const Matrix both = bench.matrix(s.tokens, 2 * s.glu), d_both = bench.matrix(s.tokens, 2 * s.glu);
  const Matrix y = bench.matrix(s.tokens, s.glu), dy = bench.matrix(s.tokens, s.glu);
  const Matrix left = both.columns(0, s.glu), right = both.columns(s.glu, s.glu);
  const Matrix d_left = d_both.columns(0, s.glu), d_right = d_both.columns(s.glu, s.glu);
  bench.bytes("product", 3 * glu, [&] { return product(left, right, y, nullptr); });
  bench.bytes("product backward, again", 6 * glu,
              [&] { return product_backward(left, right, dy, d_left, d_right, y, nullptr); });

  const std::int64_t rows = std::min<std::int64_t>(s.tokens, 4096);
  const Matrix logits = bench.matrix(rows, s.vocab);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(s.tokens));
  for (std::size_t t = 0; t < ids.size(); ++t) {
    ids[t] = static_cast<std::int32_t>(t * t * 7919 % static_cast<std::size_t>(s.vocab));
  }
  auto* tokens = static_cast<std::int32_t*>(bench.memory(ids.size() * 4));
  require(cudaMemcpy(tokens, ids.data(), ids.size() * 4, cudaMemcpyHostToDevice));
  auto* losses = static_cast<double*>(bench.memory(ids.size() * 8));
  auto* scale = static_cast<double*>(bench.memory(sizeof(double)));
  const double logit_bytes = 2.0 * static_cast<double>(rows * s.vocab);
  bench.bytes("cross entropy", logit_bytes,
              [&] { return cross_entropy(logits, tokens, nullptr, losses, nullptr); });
  bench.bytes("cross entropy with gradient", 2 * logit_bytes,
              [&] { return cross_entropy(logits, tokens, scale, losses, nullptr); });

  const Matrix table = bench.matrix(s.vocab, s.width), x = bench.matrix(s.tokens, s.width);
  const Matrix d_table = bench.matrix(s.vocab, s.width, DType::kF32);
  const double row = 2.0 * static_cast<double>(s.tokens * s.width);
  bench.bytes("embed", 2 * row, [&] { return embed(table, tokens, 32, x, nullptr); });
  void* const workspace = bench.memory(embed_backward_workspace(s.tokens));
  bench.bytes("embed backward", row + 4 * row,
              [&] { return embed_backward(x, tokens, 32, -1, d_table, workspace, nullptr); });
  bench.bytes("gemv of the head", 2.0 * static_cast<double>(s.vocab * s.width), [&] {
    return few_rows_product(1, x.row_block(0, 1), table, 0, logits.row_block(0, 1),
                            logits.row_block(0, 1), {});
  });
}

void run_optimizer(Bench& bench, const Sizes& s) {
  const auto count = static_cast<std::size_t>(s.vocab * s.width);
  const auto floats = [&] { return static_cast<float*>(bench.memory(count * 4)); };
  AdamWArgs args;
  args.parameters = {floats(), count};
  args.gradients = {floats(), count};
  args.first_moment = {floats(), count};
  args.second_moment = {floats(), count};
  args.rounded = static_cast<std::uint16_t*>(bench.memory(count * 2));
  bench.bytes("adamw with bf16 copy", 30.0 * static_cast<double>(count),
              [&] { return adamw(args, nullptr); });
  void* const workspace = bench.memory(sum_of_squares_workspace(static_cast<std::int64_t>(count)));
  auto* sum = static_cast<double*>(bench.memory(8));
  bench.bytes("sum of squares", 4.0 * static_cast<double>(count), [&] {
    return sum_of_squares(args.gradients.data(), static_cast<std::int64_t>(count), sum, workspace,
                          nullptr);
  });
}

void run_products(Bench& bench, const Sizes& s) {
  auto created = Matmul::create(bench.memory(Matmul::kWorkspaceBytes));
  require(created.status());
  Matmul& matmul = **created;
  struct Weight {
    const char* name;
    std::int64_t rows, cols;
  };
  for (const Weight& w : {Weight{"projection", 4 * s.width, s.width},
                          Weight{"output", s.width, s.width}, Weight{"glu in", 2 * s.glu, s.width},
                          Weight{"glu out", s.width, s.glu}, Weight{"head", s.vocab, s.width}}) {
    const std::int64_t tokens =
        w.rows == s.vocab ? std::min<std::int64_t>(s.tokens, 4096) : s.tokens;
    const Matrix x = bench.matrix(tokens, w.cols), y = bench.matrix(tokens, w.rows);
    const Matrix weight = bench.matrix(w.rows, w.cols);
    const Matrix gradient = bench.matrix(w.rows, w.cols, DType::kF32);
    const double count = 2.0 * static_cast<double>(tokens) * static_cast<double>(w.rows * w.cols);
    bench.flops(std::string(w.name) + " NT", count,
                [&] { return matmul.run(MatmulForm::kNT, 1, x, weight, 0, y, y, nullptr); });
    bench.flops(std::string(w.name) + " NN", count,
                [&] { return matmul.run(MatmulForm::kNN, 1, y, weight, 0, x, x, nullptr); });
    bench.flops(std::string(w.name) + " TN", count, [&] {
      return matmul.run(MatmulForm::kTN, 1, y, x, 1, gradient, gradient, nullptr);
    });
    for (const Matrix& matrix : {x, y, weight, gradient}) require(cudaFree(matrix.data));
  }
}

int run(int argc, char** argv) {
  Sizes sizes;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    std::int64_t* const target = name == "tokens"  ? &sizes.tokens
                                 : name == "width" ? &sizes.width
                                 : name == "glu"   ? &sizes.glu
                                 : name == "vocab" ? &sizes.vocab
                                 : name == "reps"  ? &sizes.reps
                                                   : nullptr;
    if (target == nullptr || equals == std::string::npos) {
      std::printf("found '%s', expected tokens=, width=, glu=, vocab= or reps=\n", argv[i]);
      return 2;
    }
    *target = std::atoll(argument.c_str() + equals + 1);
  }
  cudaDeviceProp device{};
  require(cudaGetDeviceProperties(&device, 0));
  std::printf("%s, tokens %lld, width %lld\n", device.name, static_cast<long long>(sizes.tokens),
              static_cast<long long>(sizes.width));
  Bench bench(static_cast<int>(sizes.reps));
  run_rows(bench, sizes);
  run_loss(bench, sizes);
  run_optimizer(bench, sizes);
  run_products(bench, sizes);
  return 0;
}

}  // namespace
}  // namespace tnl::cuda

int main(int argc, char** argv) {
  return tnl::cuda::run(argc, argv);
}
