#include "tnl/bench_attention.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "backend/cpu/peaks.h"
#include "core/buffer.h"
#include "core/convert.h"
#include "core/rng.h"
#include "tnl/bench_timing.h"
#include "tnl/model.h"

namespace tnl::command {
namespace {

constexpr std::int64_t kMostExtent = std::int64_t{1} << 31;

struct Shape {
  std::int64_t batch = 0, tokens = 0, heads = 0, key_dim = 0, value_dim = 0;
  std::vector<std::int64_t> cu_seqlens;  // packed if not empty

  std::int64_t rows() const {
    return (cu_seqlens.empty() ? batch * tokens : cu_seqlens.back()) * heads;
  }
};

struct Measurement {
  std::string shape;
  AttentionPlan plan;
  double flops = 0;
  Timing timing;
};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

template <class Number>
bool parse(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

Shape parse_shape(const std::string& text) {
  std::vector<std::int64_t> extents;
  for (const std::string_view part : split(text, 'x')) {
    std::int64_t extent = 0;
    if (!parse(part, extent) || extent < 1 || extent > kMostExtent) {
      extents.clear();
      break;
    }
    extents.push_back(extent);
  }
  if (extents.size() != 4 && extents.size() != 5) {
    require(invalid_argument(
        fmt::format("--shapes: found '{}', expected BxTxHxK or BxTxHxKxV with numbers from 1 to {}",
                    text, kMostExtent)));
  }
  const Shape shape{extents[0], extents[1], extents[2], extents[3], extents.back(), {}};
  double elements = 1;
  for (const std::int64_t extent : extents) elements *= static_cast<double>(extent);
  if (elements > 1e15) {
    require(invalid_argument(fmt::format(
        "--shapes: found '{}', expected a shape that fits into the memory of a machine", text)));
  }
  return shape;
}

std::vector<std::int64_t> parse_lengths(const std::string& text) {
  std::vector<std::int64_t> offsets = {0};
  for (const std::string_view part : split(text, ',')) {
    std::int64_t length = 0;
    if (!parse(part, length) || length < 0 || length > kMostExtent) {
      require(invalid_argument(
          fmt::format("--varlen: found '{}', expected lengths from 0 to {}", text, kMostExtent)));
    }
    offsets.push_back(offsets.back() + length);
  }
  return offsets;
}

// B lengths from T/2 to 3T/2, B * T in all: what one gets more, its neighbour gets less.
std::vector<std::int64_t> draw_lengths(const Shape& shape) {
  Rng rng(1);
  std::vector<std::int64_t> offsets = {0};
  for (std::int64_t n = 0; n < shape.batch; n += 2) {
    const std::int64_t shift =
        n + 1 < shape.batch ? static_cast<std::int64_t>(rng.below(shape.tokens / 2 + 1)) : 0;
    offsets.push_back(offsets.back() + shape.tokens + shift);
    if (n + 1 < shape.batch) offsets.push_back(offsets.back() + shape.tokens - shift);
  }
  return offsets;
}

std::vector<float> decays(const std::string& slopes, std::int64_t heads) {
  if (slopes == "zero") return std::vector<float>(heads, 0.0f);
  if (slopes == "first" || slopes == "half") {
    ModelConfig config;
    config.heads = heads;
    config.layers = 3;
    return config.log_decay(slopes == "first" ? 0 : 1);
  }
  std::vector<float> result;
  for (const std::string_view part : split(slopes, ',')) {
    float slope = 0;
    if (!parse(part, slope) || !(slope >= 0)) {
      require(invalid_argument(
          fmt::format("--slopes: found '{}', expected first, half, zero or numbers >= 0", slopes)));
    }
    result.push_back(-slope);
  }
  if (result.size() == 1) result.assign(heads, result[0]);
  if (static_cast<std::int64_t>(result.size()) != heads) {
    require(invalid_argument(
        fmt::format("--slopes: found {} numbers, expected 1 or one for each of {} heads",
                    result.size(), heads)));
  }
  return result;
}

DType parse_dtype(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64}) {
    if (dtype_name(dtype) == name) return dtype;
  }
  throw Exit{kExitBadInput, fmt::format("--dtype: found '{}'", name)};
}

// The operands of one shape, filled with normal numbers.
class Operands {
 public:
  Operands(const Shape& shape, DType dtype, const AttentionBenchOptions& options)
      : shape_(shape), dtype_(dtype), log_decay_(decays(options.slopes, shape.heads)) {
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
      std::vector<double> row(width);
      for (std::int64_t r = 0; r < shape_.rows(); ++r) {
        for (double& value : row) value = rng_.normal();
        convert(row.data(), DType::kF64, static_cast<char*>(data) + r * width * dtype_size(dtype_),
                dtype_, width);
      }
    }
    if (!shape_.cu_seqlens.empty()) {
      return TensorView::contiguous(data, dtype_, {shape_.cu_seqlens.back(), shape_.heads, width});
    }
    return TensorView::contiguous(data, dtype_, {shape_.batch, shape_.tokens, shape_.heads, width});
  }

  Shape shape_;
  DType dtype_;
  std::vector<float> log_decay_;
  std::vector<Buffer> buffers_;
  Rng rng_{7};
};

void bench_shape(const std::string& name, const Shape& shape, const Device& device,
                 const AttentionBenchOptions& options, std::vector<Measurement>& results) {
  Operands operands(shape, parse_dtype(options.dtype), options);
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

void bench_attention(const AttentionBenchOptions& options) {
  const Device device = options.device.open();
  std::vector<Shape> shapes;
  for (const std::string& text : options.shapes) {
    Shape shape = parse_shape(text);
    if (!options.varlen.empty()) {
      shape.cu_seqlens =
          options.varlen == "drawn" ? draw_lengths(shape) : parse_lengths(options.varlen);
    }
    decays(options.slopes, shape.heads);  // every mistake before the first measurement
    shapes.push_back(shape);
  }
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
