// The kernels of this folder as host functions: arguments checked, everything asynchronous on the
// stream, nothing allocated, no atomics.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "backend/attention_problem.h"
#include "backend/cuda/plan.h"
#include "backend/cuda/step.h"
#include "tnl/status.h"

namespace tnl::cuda {

struct SweepParams;
struct RowParams;

using SweepFunction = void (*)(SweepParams);
SweepFunction sweep64_function(DType dtype, Split split);
SweepFunction sweep128_function(DType dtype, Split split);
SweepFunction sweep256_function(DType dtype, Split split);
SweepFunction sweep64_single_function(DType dtype, Split split);
SweepFunction sweep128_single_function(DType dtype, Split split);
SweepFunction sweep256_single_function(DType dtype, Split split);
SweepFunction sweep64_pair_function(DType dtype, Split split);
SweepFunction chunk128_function(DType dtype, Split split);

using RowFunction = void (*)(RowParams);
RowFunction mma64_function(DType dtype, Split split);
RowFunction mma128_function(DType dtype, Split split);
RowFunction mma256_function(DType dtype, Split split);
RowFunction fma64_function(DType dtype);
RowFunction fma128_function(DType dtype);
RowFunction fma256_function(DType dtype);

// Once a device, before the first launch: raises the kernels' shared memory limits.
Status prepare_kernels();

// The launches of a plan made for these very problems. Pointers are device memory; `workspace`
// holds plan.workspace_bytes bytes at a multiple of 256. The plan's tables travel as arguments of a
// kernel, so that all of it can be recorded in a CUDA graph; with `tables_ready` they lie in the
// workspace since an upload_tables of the same plan, which saves that launch.
Status run_attention(std::span<const AttentionProblem> problems, const Plan& plan, void* workspace,
                     cudaStream_t stream, bool tables_ready = false);
Status upload_tables(std::span<const AttentionProblem> problems, const Plan& plan, void* workspace,
                     cudaStream_t stream);

// Tables that the kernels read when they run, in place of the host's: a graph that was captured
// with them can be replayed with other values there. Device memory; nullptr: the host's.
struct DeviceTables {
  const std::int32_t* slots = nullptr;    // [sequences]; a negative one skips its sequence
  const std::int32_t* lengths = nullptr;  // [sequences], tokens; at most the problem's
  const float* decay = nullptr;           // [heads], λ
};

// The recurrence token by token: any K that fits, any V, strides, f32, bf16 or f16. Without o.data
// only the state is computed.
Status run_general(const AttentionProblem& problem, std::span<const std::int64_t> slots,
                   cudaStream_t stream, const DeviceTables& tables = {});

// Up to kMostStepTokens tokens a sequence, the state (state_in and state_out, the same) updated in
// place with one read and one write. Token by token the bits are those of as many steps of one
// token with the same `columns`.
Status run_step(const AttentionProblem& problem, const AttentionStep& step, cudaStream_t stream,
                const StepTuning& tuning = {});

// S of slot j becomes S of slot j plus factor · S of slot j - 1, along each chain. The chains are
// read from `on_device`, or where that is nullptr travel as arguments, at most kInlineScans.
// early: start before the kernel ahead has ended and wait for it there, as sm_90 code can.
inline constexpr std::size_t kInlineScans = 256;
Status run_scan(std::span<const ScanItem> scans, const ScanItem* on_device, float4* slots,
                std::int64_t vectors_per_slot, bool early, cudaStream_t stream);

// Copies bytes of the host into device memory as arguments of a kernel: ordered on the stream, and
// safe to record in a graph.
Status upload(void* destination, const void* source, std::size_t bytes, cudaStream_t stream);

// "what: CUDA's words", or ok.
Status cuda_status(cudaError_t error, const char* what);

}  // namespace tnl::cuda
