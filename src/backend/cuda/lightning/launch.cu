// From a plan to launches.
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/lightning/params.cuh"
#include "backend/cuda/lightning/row_params.cuh"
#include "backend/cuda/lightning/tensor_map.h"
#include "core/check.h"
#include "core/try.h"

namespace tnl::cuda {

namespace {

SweepFunction sweep_function(Kernel kernel, DType dtype, Split split) {
  switch (kernel) {
    case Kernel::kSweep64:
      return sweep64_function(dtype, split);
    case Kernel::kSweep128:
      return sweep128_function(dtype, split);
    case Kernel::kSweep256:
      return sweep256_function(dtype, split);
    default:
      break;
  }
  TNL_CHECK(false);
  return nullptr;
}

RowFunction row_function(Kernel kernel, DType dtype, Split split) {
  switch (kernel) {
    case Kernel::kMma64:
      return mma64_function(dtype, split);
    case Kernel::kMma128:
      return mma128_function(dtype, split);
    case Kernel::kMma256:
      return mma256_function(dtype, split);
    case Kernel::kFma64:
      return fma64_function(dtype);
    case Kernel::kFma128:
      return fma128_function(dtype);
    case Kernel::kFma256:
      return fma256_function(dtype);
    default:
      break;
  }
  TNL_CHECK(false);
  return nullptr;
}

// The high part keeps 16 bits of log2 λ, so that n times it is exact in fp32 for n <= 64.
HeadDecay head_decay(float log_decay) {
  const double x = log2_decay(log_decay);
  float high = static_cast<float>(x);
  std::uint32_t bits;
  std::memcpy(&bits, &high, 4);
  bits &= 0xffffff00u;
  std::memcpy(&high, &bits, 4);
  return {high, static_cast<float>(x - high)};
}

StateView state_view(const AttentionStateOperand& x) {
  return {static_cast<float*>(x.data), x.stride_sequence, x.stride_head, x.stride_k, x.stride_v};
}

Status raise_shared_limit(const void* function, const SweepShape& shape) {
  return cuda_status(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(shape.shared_bytes)),
                     "preparing an attention kernel");
}

// What the calls of both kinds hold beside their operands.
template <class Call>
void fill_rest(const AttentionProblem& p, Call& call) {
  call.state_in = state_view(p.state_in);
  call.state_out = state_view(p.state_out);
  call.out_scale = static_cast<float>(p.out_scale);
  call.value_scale = static_cast<float>(p.value_scale);
  call.key_dim = static_cast<std::int32_t>(p.key_dim);
  call.value_dim = static_cast<std::int32_t>(p.value_dim);
  call.reverse = p.reverse;
  call.state_enters_undecayed = p.state_enters_undecayed;
  call.decay_state_out = p.decay_state_out;
}

Status fill_call(const AttentionProblem& p, SweepCall& call) {
  TNL_TRY(encode_operand(p, p.q, p.key_dim, call.q));
  TNL_TRY(encode_operand(p, p.k, p.key_dim, call.k));
  TNL_TRY(encode_operand(p, p.v, p.value_dim, call.v));
  TNL_TRY(encode_operand(p, p.o, p.value_dim, call.o));
  call.o_data = p.o.data;
  call.o_stride_batch = p.o.stride_batch;
  call.o_stride_token = p.o.stride_token;
  call.o_stride_head = p.o.stride_head;
  fill_rest(p, call);
  return {};
}

Status fill_call(const AttentionProblem& p, RowCall& call) {
  const std::int64_t size = p.dtype == DType::kF32 ? 4 : 2;
  const auto operand = [size](const AttentionOperand& x) {
    return RowOperand{static_cast<char*>(x.data), size * x.stride_batch, size * x.stride_token,
                      size * x.stride_head};
  };
  call.q = operand(p.q);
  call.k = operand(p.k);
  call.v = operand(p.v);
  call.o = operand(p.o);
  fill_rest(p, call);
  return {};
}

template <class Params>
Status launch_sweep(void (*function)(Params), const SweepShape& shape, Params& params,
                    std::size_t items, cudaStream_t stream) {
  if (items == 0) return {};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(items * params.blocks_per_item));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  void* arguments[] = {&params};
  return cuda_status(
      cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(function), arguments),
      "launching the attention sweep");
}

// Hands out the workspace in steps of 256 bytes, as launch_workspace counts them.
class Cursor {
 public:
  explicit Cursor(void* base) : at_(static_cast<char*>(base)) {}
  void* take(std::size_t bytes) {
    char* here = at_;
    at_ += (bytes + 255) / 256 * 256;
    return here;
  }

 private:
  char* at_;
};

template <class T>
Status upload_table(const std::vector<T>& table, Cursor& workspace, cudaStream_t stream,
                    const T*& on_device) {
  const std::size_t bytes = table.size() * sizeof(T);
  void* memory = workspace.take(bytes);
  on_device = static_cast<const T*>(memory);
  return bytes == 0 ? Status{} : upload(memory, table.data(), bytes, stream);
}

template <class Params>
Status run_sweep(void (*function)(Params), std::span<const AttentionProblem> problems,
                 const LaunchPlan& launch, Cursor& workspace, cudaStream_t stream) {
  const AttentionProblem& first = problems[launch.calls[0]];
  const SweepShape shape = sweep_shape(launch.kernel, launch.split);
  Params params{};
  params.call_count = static_cast<std::int32_t>(launch.calls.size());
  for (int i = 0; i < params.call_count; ++i) {
    TNL_TRY(fill_call(problems[launch.calls[i]], params.calls[i]));
  }
  params.heads = static_cast<std::int32_t>(first.heads);
  params.tokens = static_cast<std::int32_t>(first.tokens);
  params.blocks_per_item = launch.blocks_per_item;
  params.value_tiles = launch.value_tiles;

  const WorkItem *main = nullptr, *state_pass = nullptr;
  const ScanItem* scans = nullptr;
  std::vector<WorkItem> nothing;
  TNL_TRY(upload_table(launch.uniform ? nothing : launch.main, workspace, stream, main));
  TNL_TRY(upload_table(launch.state_pass, workspace, stream, state_pass));
  TNL_TRY(upload_table(launch.scans, workspace, stream, scans));
  std::vector<HeadDecay> decay(first.heads);
  for (std::int64_t h = 0; h < first.heads; ++h) decay[h] = head_decay(first.log_decay[h]);
  if (first.heads <= kInlineHeads) {
    std::copy(decay.begin(), decay.end(), params.inline_decay);
    workspace.take(decay.size() * sizeof(HeadDecay));
  } else {
    TNL_TRY(upload_table(decay, workspace, stream, params.decay));
  }
  params.slots = static_cast<float4*>(workspace.take(launch.slots * launch.slot_bytes));

  if (!launch.state_pass.empty()) {
    params.work = state_pass;
    TNL_TRY(launch_sweep(function, shape, params, launch.state_pass.size(), stream));
    TNL_TRY(run_scan(scans, static_cast<int>(launch.scans.size()), params.slots,
                     static_cast<std::int64_t>(launch.slot_bytes / sizeof(float4)), stream));
  }
  params.work = launch.uniform ? nullptr : main;
  return launch_sweep(function, shape, params, launch.main.size(), stream);
}

}  // namespace

Status prepare_kernels() {
  int device = 0, major = 0;
  TNL_TRY(cuda_status(cudaGetDevice(&device), "finding the device"));
  TNL_TRY(cuda_status(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
                      "asking for the device's compute capability"));
  if (major != 9) return {};  // the sweeps are sm_90a code
  for (Kernel kernel : {Kernel::kSweep64, Kernel::kSweep128, Kernel::kSweep256}) {
    for (Split split : {Split::kNone, Split::kState, Split::kAll}) {
      for (DType dtype : {DType::kBF16, DType::kF16}) {
        const void* function = reinterpret_cast<const void*>(sweep_function(kernel, dtype, split));
        const SweepShape shape = sweep_shape(kernel, split);
        TNL_TRY(raise_shared_limit(function, shape));
      }
    }
  }
  return {};
}

Status run_attention(std::span<const AttentionProblem> problems, const Plan& plan, void* workspace,
                     cudaStream_t stream) {
  Cursor cursor(workspace);
  for (const LaunchPlan& launch : plan.launches) {
    if (launch.kernel == Kernel::kGeneral) {
      TNL_TRY(run_general(problems[launch.calls[0]], {}, stream));
    } else if (is_row_kernel(launch.kernel)) {
      const DType dtype = problems[launch.calls[0]].dtype;
      const RowFunction function = row_function(launch.kernel, dtype, launch.split);
      // Not in prepare_kernels: where only PTX fits the device, touching a kernel compiles it.
      TNL_TRY(raise_shared_limit(reinterpret_cast<const void*>(function),
                                 sweep_shape(launch.kernel, launch.split)));
      TNL_TRY(run_sweep(function, problems, launch, cursor, stream));
    } else {
      const DType dtype = problems[launch.calls[0]].dtype;
      TNL_TRY(run_sweep(sweep_function(launch.kernel, dtype, launch.split), problems, launch,
                        cursor, stream));
    }
  }
  return {};
}

}  // namespace tnl::cuda
