// From a plan to launches.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

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
    case Kernel::kSweep64Pair:
      return sweep64_pair_function(dtype, split);
    case Kernel::kChunk128:
      return chunk128_function(dtype, split);
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

Status fill_call(const AttentionProblem& p, const SweepShape& shape, SweepCall& call) {
  call.whole_tiles = p.key_dim % kTile == 0 && p.value_dim % kTile == 0;
  const int keys = call.whole_tiles ? shape.key_tiles : 0;
  TNL_TRY(encode_operand(p, p.q, p.key_dim, keys, call.q));
  TNL_TRY(encode_operand(p, p.k, p.key_dim, keys, call.k));
  TNL_TRY(encode_operand(p, p.v, p.value_dim, call.whole_tiles ? shape.workers : 0, call.v));
  TNL_TRY(encode_operand(p, p.o, p.value_dim, 0, call.o));
  call.o_data = p.o.data;
  call.o_stride_batch = p.o.stride_batch;
  call.o_stride_token = p.o.stride_token;
  call.o_stride_head = p.o.stride_head;
  fill_rest(p, call);
  return {};
}

void fill_call(const AttentionProblem& p, RowCall& call) {
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
}

// Always behind the end of the kernel ahead in the stream: blocks that start early are dealt to the
// multiprocessors in another order, and those that share what they read then meet in the cache less
// often (docs/kernels/sweep.md).
template <class Params>
Status launch_sweep(void (*function)(Params), const SweepShape& shape, Params& params,
                    std::size_t items, cudaStream_t stream, int cluster = 1) {
  if (items == 0) return {};
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(items * params.blocks_per_item));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = cluster > 1 ? 1 : 0;
  return cuda_status(cudaLaunchKernelEx(&config, function, params),
                     "launching the attention sweep");
}

// The tables of one launch, one after the other in the workspace as table_bytes counts them.
struct Tables {
  const HeadDecay* decay = nullptr;
  const WorkItem *main = nullptr, *state_pass = nullptr;
  const ScanItem* scans = nullptr;
  float4* slots = nullptr;
  std::vector<unsigned char> bytes;

  std::vector<HeadDecay> heads;

  Tables(const AttentionProblem& problem, const LaunchPlan& launch, char* workspace)
      : heads(problem.heads), at_(workspace) {
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

// The arguments that all launches of a plan share, and what room they leave for tables.
class Arguments {
 public:
  explicit Arguments(std::size_t calls) : used_(calls * sizeof(SweepCall)) {}
  SweepParams params{};

  SweepCall& call(int i) { return reinterpret_cast<SweepCall*>(params.data)[i]; }
  template <class T>
  bool fits(std::size_t count) const {
    return used_ + count * sizeof(T) <= sizeof(params.data);
  }
  template <class T>
  std::int16_t append(const std::vector<T>& table) {
    const std::size_t at = used_;
    std::memcpy(params.data + at, table.data(), table.size() * sizeof(T));
    used_ += table.size() * sizeof(T);
    return static_cast<std::int16_t>(at);
  }
  // In place of the items appended before.
  void set_items(const std::vector<PackedItem>& items) {
    const std::size_t before = used_;
    params.items_offset = append(items);
    used_ = before;
  }

 private:
  std::size_t used_;
};

// Nothing if a number does not fit.
std::vector<PackedItem> pack(const std::vector<WorkItem>& items) {
  std::vector<PackedItem> packed;
  for (const WorkItem& item : items) {
    PackedItem& p = packed.emplace_back();
    p = {item.row,
         item.tokens,
         static_cast<std::uint16_t>(item.warm_chunks),
         static_cast<std::uint16_t>(item.head),
         static_cast<std::uint16_t>(item.sequence),
         static_cast<std::uint16_t>(item.call),
         static_cast<std::int16_t>(item.state_in),
         static_cast<std::int16_t>(item.state_out)};
    if (p.warm_chunks != item.warm_chunks || p.head != item.head || p.sequence != item.sequence ||
        p.state_in != item.state_in || p.state_out != item.state_out) {
      return {};
    }
  }
  return packed;
}

Status run_sweep(std::span<const AttentionProblem> problems, const LaunchPlan& launch,
                 char* workspace, bool tables_ready, cudaStream_t stream) {
  const AttentionProblem& first = problems[launch.calls[0]];
  const SweepShape shape = sweep_shape(launch.kernel, launch.split);
  const SweepFunction function = sweep_function(launch.kernel, first.dtype, launch.split);
  Arguments arguments(launch.calls.size());
  SweepParams& params = arguments.params;
  params.call_count = static_cast<std::int32_t>(launch.calls.size());
  for (int i = 0; i < params.call_count; ++i) {
    TNL_TRY(fill_call(problems[launch.calls[i]], shape, arguments.call(i)));
  }
  params.heads = static_cast<std::int32_t>(first.heads);
  params.tokens = static_cast<std::int32_t>(first.tokens);
  params.value_tiles = static_cast<std::int16_t>(launch.value_tiles);
  params.packed = !first.cu_seqlens.empty();

  const Tables tables(first, launch, workspace);
  params.slots = tables.slots;
  const bool inline_decay = arguments.fits<HeadDecay>(tables.heads.size());
  if (inline_decay) params.decay_offset = arguments.append(tables.heads);
  bool inline_items = false;
  std::vector<PackedItem> main, state_pass;
  if (!launch.uniform && inline_decay && launch.scans.size() <= kInlineScans &&
      arguments.fits<PackedItem>(std::max(launch.main.size(), launch.state_pass.size()))) {
    main = pack(launch.main);
    state_pass = pack(launch.state_pass);
    inline_items =
        main.size() == launch.main.size() && state_pass.size() == launch.state_pass.size();
  }
  if (!inline_decay) params.decay = tables.decay;
  const bool in_memory = !inline_decay || (!launch.uniform && !inline_items);
  if (in_memory && !tables_ready) {
    TNL_TRY(upload(workspace, tables.bytes.data(), tables.bytes.size(), stream));
  }
  if (!launch.state_pass.empty()) {
    if (inline_items) {
      arguments.set_items(state_pass);
    } else {
      params.work = tables.state_pass;
    }
    // Without outputs there is nothing to take turns at.
    params.turns = 1;
    params.blocks_per_item = static_cast<std::int16_t>(launch.blocks_per_item / launch.turns);
    TNL_TRY(launch_sweep(function, shape, params, launch.state_pass.size(), stream));
    TNL_TRY(run_scan(launch.scans, inline_items ? nullptr : tables.scans, params.slots,
                     static_cast<std::int64_t>(launch.slot_bytes / sizeof(float4)), true, stream));
  }
  params.turns = static_cast<std::int16_t>(launch.turns);
  params.blocks_per_item = static_cast<std::int16_t>(launch.blocks_per_item);
  if (inline_items) {
    arguments.set_items(main);
  } else {
    params.work = launch.uniform ? nullptr : tables.main;
  }
  return launch_sweep(function, shape, params, launch.main.size(), stream, launch.turns);
}

// The kernels that copy their operands row by row; their tables are uploaded.
Status run_rows(std::span<const AttentionProblem> problems, const LaunchPlan& launch,
                char* workspace, bool tables_ready, cudaStream_t stream) {
  const AttentionProblem& first = problems[launch.calls[0]];
  const SweepShape shape = sweep_shape(launch.kernel, launch.split);
  const RowFunction function = row_function(launch.kernel, first.dtype, launch.split);
  // Not in prepare_kernels: where only PTX fits the device, touching a kernel compiles it.
  TNL_TRY(raise_shared_limit(reinterpret_cast<const void*>(function), shape));
  RowParams params{};
  params.call_count = static_cast<std::int32_t>(launch.calls.size());
  for (int i = 0; i < params.call_count; ++i) {
    fill_call(problems[launch.calls[i]], params.calls[i]);
  }
  params.heads = static_cast<std::int32_t>(first.heads);
  params.tokens = static_cast<std::int32_t>(first.tokens);
  params.blocks_per_item = launch.blocks_per_item;
  params.value_tiles = launch.value_tiles;
  const Tables tables(first, launch, workspace);
  params.slots = tables.slots;
  if (tables.heads.size() <= kInlineHeads) {
    std::copy(tables.heads.begin(), tables.heads.end(), params.inline_decay);
  } else {
    params.decay = tables.decay;
  }
  if (!tables_ready && (!launch.uniform || params.decay != nullptr)) {
    TNL_TRY(upload(workspace, tables.bytes.data(), tables.bytes.size(), stream));
  }
  if (!launch.state_pass.empty()) {
    params.work = tables.state_pass;
    TNL_TRY(launch_sweep(function, shape, params, launch.state_pass.size(), stream));
    TNL_TRY(run_scan(launch.scans, tables.scans, params.slots,
                     static_cast<std::int64_t>(launch.slot_bytes / sizeof(float4)), false, stream));
  }
  params.work = launch.uniform ? nullptr : tables.main;
  return launch_sweep(function, shape, params, launch.main.size(), stream);
}

}  // namespace

Status prepare_kernels() {
  int device = 0, major = 0;
  TNL_TRY(cuda_status(cudaGetDevice(&device), "finding the device"));
  TNL_TRY(cuda_status(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
                      "asking for the device's compute capability"));
  if (major != 9) return {};  // the sweeps are sm_90a code
  std::vector<Kernel> kernels(std::begin(kSweeps), std::end(kSweeps));
  kernels.push_back(Kernel::kChunk128);
  for (Kernel kernel : kernels) {
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
      TNL_TRY(is_row_kernel(launch.kernel) ? run_rows(problems, launch, at, tables_ready, stream)
                                           : run_sweep(problems, launch, at, tables_ready, stream));
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
