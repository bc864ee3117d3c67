#include "tnl/bench_attention.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "backend/cpu/peaks.h"
#include "core/buffer.h"
#include "core/convert.h"
#include "core/rng.h"
#include "tnl/bench_attention_input.h"
#include "tnl/bench_timing.h"

namespace tnl::command {
namespace {

constexpr std::int64_t kDrawn = (std::int64_t{1} << 20) - 3;  // in step with no row

struct Measurement {
  std::string shape;
  AttentionPlan plan;
  double flops = 0;
  Timing timing;
};

// The operands of one shape, filled with normal numbers.
class Operands {
 public:
  Operands(const AttentionShape& shape, DType dtype, const AttentionBenchOptions& options)
      : shape_(shape), dtype_(dtype), log_decay_(attention_decays(options.slopes, shape.heads)) {
    args.q = operand(shape.key_dim, true);
    args.k = operand(shape.key_dim, true);
    args.v = operand(shape.value_dim, true);
    args.o = operand(shape.value_dim, false);
    args.log_decay = log_decay_;
    args.direction = options.reverse ? Direction::kReverse : Direction::kForward;
    args.cu_seqlens = shape_.cu_seqlens;
  }

  AttentionGradients gradients() {
    AttentionGradients result;
    result.d_o = operand(shape_.value_dim, true);
    result.dq = operand(shape_.key_dim, false);
    result.dk = operand(shape_.key_dim, false);
    result.dv = operand(shape_.value_dim, false);
    return result;
  }

  AttentionArgs args;

 private:
  TensorView operand(std::int64_t width, bool fill) {
    const std::int64_t count = shape_.rows() * width;
    buffers_.push_back(require(
        Buffer::allocate(static_cast<std::size_t>(count * dtype_size(dtype_)), "operands")));
    void* data = buffers_.back().data();
    if (fill) {
      // A block of them over and over: drawing takes longer than what is measured.
      std::vector<double> block(static_cast<std::size_t>(std::min(count, kDrawn)));
      for (double& value : block) value = rng_.normal();
      for (std::int64_t first = 0; first < count; first += kDrawn) {
        convert(block.data(), DType::kF64, static_cast<char*>(data) + first * dtype_size(dtype_),
                dtype_, std::min(count - first, kDrawn));
      }
    }
    if (!shape_.cu_seqlens.empty()) {
      return TensorView::contiguous(data, dtype_, {shape_.cu_seqlens.back(), shape_.heads, width});
    }
    return TensorView::contiguous(data, dtype_, {shape_.batch, shape_.tokens, shape_.heads, width});
  }

  AttentionShape shape_;
  DType dtype_;
  std::vector<float> log_decay_;
  std::vector<Buffer> buffers_;
  Rng rng_{7};
};

void bench_shape(const std::string& name, const AttentionShape& shape, const Device& device,
                 const AttentionBenchOptions& options, std::vector<Measurement>& results) {
  Operands operands(shape, parse_attention_dtype(options.dtype), options);
  const double forward_flops = 4.0 * static_cast<double>(shape.rows()) *
                               static_cast<double>(shape.key_dim) *
                               static_cast<double>(shape.value_dim);
  const AttentionArgs& args = operands.args;
  if (options.pass != "backward") {
    const AttentionPlan plan = require(plan_attention(args, device.properties(), options.plan));
    const Buffer workspace = require(Buffer::allocate(plan.workspace_bytes, "workspace"));
    const Timing timing = measure(
        options.repeat, [&] { return attention_forward(args, plan, workspace.data(), device); });
    results.push_back({name, plan, forward_flops, timing});
  }
  if (options.pass != "forward") {
    const AttentionGradients gradients = operands.gradients();
    const AttentionPlan plan =
        require(plan_attention_backward(args, gradients, device.properties(), options.plan));
    const Buffer workspace = require(Buffer::allocate(plan.workspace_bytes, "workspace"));
    const Timing timing = measure(options.repeat, [&] {
      return attention_backward(args, gradients, plan, workspace.data(), device);
    });
    results.push_back({name, plan, 3 * forward_flops, timing});
  }
}

nlohmann::json to_json(const Measurement& result, double peak) {
  const double flops_per_second = result.flops / result.timing.best;
  return {{"shape", result.shape},
          {"pass", result.plan.backward ? "backward" : "forward"},
          {"seconds_best", result.timing.best},
          {"seconds_median", result.timing.median},
          {"gflops", flops_per_second / 1e9},
          {"share_of_peak", flops_per_second / peak},
          {"plan",
           {{"kernel", result.plan.kernel},
            {"chunk", result.plan.chunk},
            {"value_slice", result.plan.value_slice},
            {"segments", result.plan.segments},
            {"tasks", result.plan.tasks},
            {"workspace_bytes", result.plan.workspace_bytes}}}};
}

void print_table(const std::vector<Measurement>& results, double peak) {
  fmt::print("{:<18} {:<9} {:>10} {:>10} {:>9} {:>8}  plan\n", "shape", "pass", "best ms",
             "median ms", "GFLOP/s", "of peak");
  for (const Measurement& result : results) {
    const double flops_per_second = result.flops / result.timing.best;
    fmt::print("{:<18} {:<9} {:>10.3f} {:>10.3f} {:>9.1f} {:>7.1f}%  {}\n", result.shape,
               result.plan.backward ? "backward" : "forward", result.timing.best * 1e3,
               result.timing.median * 1e3, flops_per_second / 1e9, 100 * flops_per_second / peak,
               result.plan.describe());
  }
}

}  // namespace

void bench_attention(AttentionBenchOptions options) {
  const Device device = options.device.open();
  const bool on_gpu = device.properties().kind == DeviceKind::kCuda;
  if (options.dtype.empty()) options.dtype = on_gpu ? "bf16" : "f32";
  if (on_gpu) return bench_attention_gpu(options, device);
  if (options.pass == "step" || options.states || options.graph) {
    require(
        invalid_argument("--pass step, --states and --graph: found on the device 'cpu', expected a "
                         "GPU (--device cuda)"));
  }
  std::vector<AttentionShape> shapes;
  for (const std::string& text : options.shapes) {
    shapes.push_back(parse_attention_shape(text, options.varlen));
    attention_decays(options.slopes, shapes.back().heads);  // mistakes before any measurement
  }
  parse_attention_dtype(options.dtype);
  catch_interrupts();
  const DeviceProperties& properties = device.properties();
  const std::string target =
      properties.cpu_target.empty() ? available_cpu_targets().front() : properties.cpu_target;
  const double peak = cpu::multiply_add_peak(target, device.backend().pool());
  std::vector<Measurement> results;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    bench_shape(options.shapes[i], shapes[i], device, options, results);
  }
  if (options.json) {
    nlohmann::json json = {{"device", properties.name},
                           {"cpu_target", target},
                           {"threads", device.backend().pool().threads()},
                           {"dtype", options.dtype},
                           {"slopes", options.slopes},
                           {"varlen", options.varlen},
                           {"reverse", options.reverse},
                           {"peak_gflops", peak / 1e9},
                           {"results", nlohmann::json::array()}};
    for (const Measurement& result : results) json["results"].push_back(to_json(result, peak));
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{}, {} threads, {}, slopes {}{}; fp32 multiply-add peak {:.1f} GFLOP/s\n", target,
             device.backend().pool().threads(), options.dtype, options.slopes,
             options.varlen.empty() ? "" : ", packed", peak / 1e9);
  print_table(results, peak);
}

}  // namespace tnl::command
