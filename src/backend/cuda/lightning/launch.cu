// From a plan to launches.
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "backend/cuda/lightning/dependent_launch.h"
#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/lightning/params.cuh"
#include "backend/cuda/lightning/row_params.cuh"
#include "backend/cuda/lightning/tensor_map.h"
#include "backend/cuda/segments.h"
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
    case Kernel::kSweep64Single:
      return sweep64_single_function(dtype, split);
    case Kernel::kSweep128Single:
      return sweep128_single_function(dtype, split);
    case Kernel::kSweep256Single:
      return sweep256_single_function(dtype, split);
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
                    std::size_t items, bool early, cudaStream_t stream) {
  if (items == 0) return {};
  const DependentLaunch launch(dim3(static_cast<unsigned>(items * params.blocks_per_item)),
                               dim3(static_cast<unsigned>(shape.threads)), shape.shared_bytes,
                               early, stream);
  void* arguments[] = {&params};
  return cuda_status(
      cudaLaunchKernelExC(&launch.config(), reinterpret_cast<const void*>(function), arguments),
      "launching the attention sweep");
}

// The tables of one launch, one after the other in the workspace as table_bytes counts them.
struct Tables {
  const HeadDecay* decay = nullptr;
  const WorkItem *main = nullptr, *state_pass = nullptr;
  const ScanItem* scans = nullptr;
  float4* slots = nullptr;
  std::vector<unsigned char> bytes;

  Tables(const AttentionProblem& problem, const LaunchPlan& launch, char* workspace)
      : at_(workspace) {
    std::vector<HeadDecay> heads(problem.heads);
    for (std::int64_t h = 0; h < problem.heads; ++h) heads[h] = head_decay(problem.log_decay[h]);
    decay = append(heads);
    if (!launch.uniform) main = append(launch.main);
    state_pass = append(launch.state_pass);
    scans = append(launch.scans);
    slots = reinterpret_cast<float4*>(workspace + (bytes.size() + 255) / 256 * 256);
  }

 private:
  template <class T>
  const T* append(const std::vector<T>& table) {
    const auto* begin = reinterpret_cast<const unsigned char*>(table.data());
    const auto* there = reinterpret_cast<const T*>(at_ + bytes.size());
    bytes.insert(bytes.end(), begin, begin + table.size() * sizeof(T));
    return there;
  }
  char* at_;
};

template <class Params>
Status run_sweep(void (*function)(Params), std::span<const AttentionProblem> problems,
                 const LaunchPlan& launch, char* workspace, bool tables_ready,
                 cudaStream_t stream) {
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

  const Tables tables(first, launch, workspace);
  if (first.heads <= kInlineHeads) {
    std::memcpy(params.inline_decay, tables.bytes.data(), first.heads * sizeof(HeadDecay));
  } else {
    params.decay = tables.decay;
  }
  params.slots = tables.slots;
  const bool needed = !launch.uniform || params.decay != nullptr;
  const bool tables_come = needed && !tables_ready;
  if (tables_come) {
    TNL_TRY(upload(workspace, tables.bytes.data(), tables.bytes.size(), stream));
  }
  // Only sm_90 code can start before its tables are there and wait for them.
  constexpr bool kWaits = std::is_same_v<Params, SweepParams>;
  const auto await_tables = [&](bool wait) {
    if constexpr (kWaits) params.await_tables = wait;
  };
  await_tables(tables_come);
  bool early = kWaits && tables_come;
  if (!launch.state_pass.empty()) {
    params.work = tables.state_pass;
    TNL_TRY(launch_sweep(function, shape, params, launch.state_pass.size(), early, stream));
    TNL_TRY(run_scan(tables.scans, static_cast<int>(launch.scans.size()), params.slots,
                     static_cast<std::int64_t>(launch.slot_bytes / sizeof(float4)), kWaits,
                     stream));
    // By the time a block of the main pass can start, every one of the state pass has: the tables
    // are there. It waits for the states themselves where it reads them.
    await_tables(false);
    early = kWaits;
  }
  params.work = launch.uniform ? nullptr : tables.main;
  return launch_sweep(function, shape, params, launch.main.size(), early, stream);
}

}  // namespace

Status prepare_kernels() {
  int device = 0, major = 0;
  TNL_TRY(cuda_status(cudaGetDevice(&device), "finding the device"));
  TNL_TRY(cuda_status(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
                      "asking for the device's compute capability"));
  if (major != 9) return {};  // the sweeps are sm_90a code
  for (Kernel kernel : kSweeps) {
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
                     cudaStream_t stream, bool tables_ready) {
  char* at = static_cast<char*>(workspace);
  for (const LaunchPlan& launch : plan.launches) {
    if (launch.kernel == Kernel::kGeneral) {
      TNL_TRY(run_general(problems[launch.calls[0]], {}, stream));
    } else {
      const DType dtype = problems[launch.calls[0]].dtype;
      if (is_row_kernel(launch.kernel)) {
        const RowFunction function = row_function(launch.kernel, dtype, launch.split);
        // Not in prepare_kernels: where only PTX fits the device, touching a kernel compiles it.
        TNL_TRY(raise_shared_limit(reinterpret_cast<const void*>(function),
                                   sweep_shape(launch.kernel, launch.split)));
        TNL_TRY(run_sweep(function, problems, launch, at, tables_ready, stream));
      } else {
        TNL_TRY(run_sweep(sweep_function(launch.kernel, dtype, launch.split), problems, launch, at,
                          tables_ready, stream));
      }
      at += launch_workspace(launch, problems[0].heads);
    }
  }
  return {};
}

Status upload_tables(std::span<const AttentionProblem> problems, const Plan& plan, void* workspace,
                     cudaStream_t stream) {
  char* at = static_cast<char*>(workspace);
  for (const LaunchPlan& launch : plan.launches) {
    if (launch.kernel == Kernel::kGeneral) continue;
    const Tables tables(problems[launch.calls[0]], launch, at);
    TNL_TRY(upload(at, tables.bytes.data(), tables.bytes.size(), stream));
    at += launch_workspace(launch, problems[0].heads);
  }
  return {};
}

}  // namespace tnl::cuda
