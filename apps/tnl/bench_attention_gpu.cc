// `tnl bench attention` on a GPU: time, traffic, the multiple of the floor, and the error.
#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/convert.h"
#include "core/rng.h"
#include "tnl/bench_attention.h"
#include "tnl/bench_attention_error.h"
#include "tnl/bench_attention_input.h"

namespace tnl::command {
namespace {

struct Measurement {
  std::string shape, pass, plan;
  double median = 0, best = 0, worst = 0;  // seconds
  double bytes = 0;                        // every input read once, every output written once
  std::map<std::string, double> errors;
};

// Device memory full of normal numbers: a block of a few million, again and again.
class Source {
 public:
  explicit Source(const Device& device) : device_(device) {}

  void fill(void* data, DType dtype, std::int64_t elements) {
    const std::int64_t size = dtype_size(dtype);
    char* block = stored(dtype);
    const auto piece = [&](char* at, std::int64_t count) {
      return Matrix::contiguous(at, dtype, 1, count);
    };
    // Each tensor starts elsewhere in the block.
    std::int64_t from = (fills_++ * 8 * 131071) % kBlock;
    for (std::int64_t done = 0, count = 0; done < elements; from = 0, done += count) {
      count = std::min(elements - done, kBlock - from);
      device_.backend().copy(piece(block + from * size, count),
                             piece(static_cast<char*>(data) + done * size, count));
    }
  }

 private:
  static constexpr std::int64_t kBlock = 8 * 524287;  // no row of a tensor is another's copy

  // The block on the device.
  char* stored(DType dtype) {
    auto found = blocks_.find(dtype);
    if (found == blocks_.end()) {
      std::vector<double> normals(kBlock);
      Rng rng(7);
      for (double& value : normals) value = rng.normal();
      std::vector<std::byte> bytes(kBlock * dtype_size(dtype));
      convert(normals.data(), DType::kF64, bytes.data(), dtype, kBlock);
      DeviceBuffer block = require(DeviceBuffer::allocate(device_, bytes.size(), "operands"));
      require(device_.upload(block.data(), bytes.data(), bytes.size()));
      found = blocks_.emplace(dtype, std::move(block)).first;
    }
    return static_cast<char*>(found->second.data());
  }

  const Device& device_;
  std::map<DType, DeviceBuffer> blocks_;
  std::int64_t fills_ = 0;
};

// The tensors of one shape, contiguous.
class Tensors {
 public:
  Tensors(const Device& device, Source& source, const AttentionShape& shape, DType dtype)
      : device_(device), source_(source), shape_(shape), dtype_(dtype) {}

  // [B, T, H, width] or [total, H, width], counted as traffic.
  TensorView rows(std::int64_t width, bool filled) {
    void* data = memory(shape_.rows() * width, dtype_, filled);
    if (!shape_.cu_seqlens.empty()) {
      return TensorView::contiguous(data, dtype_, {shape_.cu_seqlens.back(), shape_.heads, width});
    }
    return TensorView::contiguous(data, dtype_, {shape_.batch, shape_.tokens, shape_.heads, width});
  }
  TensorView state(bool filled) {
    const std::int64_t N = shape_.sequences(), H = shape_.heads;
    const std::int64_t K = shape_.key_dim, V = shape_.value_dim;
    return TensorView::contiguous(memory(N * H * K * V, DType::kF32, filled), DType::kF32,
                                  {N, H, K, V});
  }
  void* workspace(std::size_t bytes) {
    buffers_.push_back(require(DeviceBuffer::allocate(device_, bytes, "workspace")));
    return buffers_.back().data();
  }
  double bytes() const { return bytes_; }
  void count(double bytes) { bytes_ += bytes; }

 private:
  void* memory(std::int64_t elements, DType dtype, bool filled) {
    const std::int64_t bytes = elements * dtype_size(dtype);
    bytes_ += static_cast<double>(bytes);
    buffers_.push_back(
        require(DeviceBuffer::allocate(device_, static_cast<std::size_t>(bytes), "operands")));
    if (filled) source_.fill(buffers_.back().data(), dtype, elements);
    return buffers_.back().data();
  }

  const Device& device_;
  Source& source_;
  const AttentionShape& shape_;
  DType dtype_;
  std::vector<DeviceBuffer> buffers_;
  double bytes_ = 0;
};

class Bench {
 public:
  Bench(const Device& device, const AttentionBenchOptions& options)
      : device_(device),
        options_(options),
        source_(device),
        dtype_(parse_attention_dtype(options.dtype)) {}

  double copy_bandwidth();
  void forward(const std::string& name, const AttentionShape& shape);
  void backward(const std::string& name, const AttentionShape& shape);
  void step(const std::string& name, const AttentionShape& shape);

  std::vector<Measurement> results;

 private:
  AttentionArgs inputs(Tensors& tensors, const AttentionShape& shape);
  void measure(Measurement& result, const std::function<Status()>& work);

  const Device& device_;
  const AttentionBenchOptions& options_;
  Source source_;
  DType dtype_;
  std::vector<float> log_decay_;
};

double median_of(std::vector<double>& seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

double Bench::copy_bandwidth() {
  constexpr std::int64_t kElements = std::int64_t{1} << 30;  // of 2 bytes
  Backend& backend = device_.backend();
  const DeviceBuffer from =
      require(DeviceBuffer::allocate(device_, 2 * kElements, "measuring the copy bandwidth"));
  const DeviceBuffer to =
      require(DeviceBuffer::allocate(device_, 2 * kElements, "measuring the copy bandwidth"));
  const auto matrix = [](const DeviceBuffer& buffer) {
    return Matrix::contiguous(buffer.data(), DType::kBF16, kElements >> 15, 1 << 15);
  };
  std::vector<double> seconds;
  for (int i = 0; i < 10; ++i) {
    const double one = require(backend.time(
        [&] {
          backend.copy(matrix(from), matrix(to));
          return Status{};
        },
        {.cold = true}));
    if (i >= 2) seconds.push_back(one);
  }
  return 4.0 * kElements / median_of(seconds);
}

void Bench::measure(Measurement& result, const std::function<Status()>& work) {
  require(work());
  require(device_.synchronize());
  std::vector<double> seconds;
  for (int i = 0; i < options_.repeat + 1; ++i) {
    if (interrupt_requested()) throw Exit{kExitInterrupted, ""};
    const double one =
        require(device_.backend().time(work, {.cold = true, .graph = options_.graph}));
    if (i > 0) seconds.push_back(one);
  }
  result.median = median_of(seconds);
  result.best = seconds.front();
  result.worst = seconds.back();
}

AttentionArgs Bench::inputs(Tensors& tensors, const AttentionShape& shape) {
  log_decay_ = attention_decays(options_.slopes, shape.heads);
  AttentionArgs args;
  args.q = tensors.rows(shape.key_dim, true);
  args.k = tensors.rows(shape.key_dim, true);
  args.v = tensors.rows(shape.value_dim, true);
  args.log_decay = log_decay_;
  args.direction = options_.reverse ? Direction::kReverse : Direction::kForward;
  args.cu_seqlens = shape.cu_seqlens;
  if (options_.states) args.state_in = tensors.state(true);
  return args;
}

void Bench::forward(const std::string& name, const AttentionShape& shape) {
  Tensors tensors(device_, source_, shape, dtype_);
  AttentionArgs args = inputs(tensors, shape);
  args.o = tensors.rows(shape.value_dim, false);
  if (options_.states) args.state_out = tensors.state(false);
  const double bytes = tensors.bytes();
  const AttentionPlan plan = require(plan_attention(args, device_.properties(), options_.plan));
  void* workspace = tensors.workspace(plan.workspace_bytes);
  Measurement result{name, "forward", plan.describe(), 0, 0, 0, bytes, {}};
  measure(result, [&] { return attention_forward(args, plan, workspace, device_); });
  if (options_.errors) result.errors = attention_errors(device_, args, nullptr);
  results.push_back(std::move(result));
}

void Bench::backward(const std::string& name, const AttentionShape& shape) {
  Tensors tensors(device_, source_, shape, dtype_);
  const AttentionArgs args = inputs(tensors, shape);
  AttentionGradients gradients;
  gradients.d_o = tensors.rows(shape.value_dim, true);
  gradients.dq = tensors.rows(shape.key_dim, false);
  gradients.dk = tensors.rows(shape.key_dim, false);
  gradients.dv = tensors.rows(shape.value_dim, false);
  if (options_.states) {
    gradients.d_state_out = tensors.state(true);
    gradients.d_state_in = tensors.state(false);
  }
  const double bytes = tensors.bytes();
  const AttentionPlan plan =
      require(plan_attention_backward(args, gradients, device_.properties(), options_.plan));
  void* workspace = tensors.workspace(plan.workspace_bytes);
  Measurement result{name, "backward", plan.describe(), 0, 0, 0, bytes, {}};
  measure(result, [&] { return attention_backward(args, gradients, plan, workspace, device_); });
  if (options_.errors) result.errors = attention_errors(device_, args, &gradients);
  results.push_back(std::move(result));
}

// A few tokens for each of B sequences, states in place.
void Bench::step(const std::string& name, const AttentionShape& shape) {
  Tensors tensors(device_, source_, shape, dtype_);
  log_decay_ = attention_decays(options_.slopes, shape.heads);
  AttentionStepArgs args;
  args.q = tensors.rows(shape.key_dim, true);
  args.k = tensors.rows(shape.key_dim, true);
  args.v = tensors.rows(shape.value_dim, true);
  args.o = tensors.rows(shape.value_dim, false);
  args.log_decay = log_decay_;
  args.state = tensors.state(true);
  tensors.count(static_cast<double>(args.state.elements()) * sizeof(float));  // read and written
  Measurement result{name, "step", "step", 0, 0, 0, tensors.bytes(), {}};
  measure(result, [&] { return attention_step(args, device_, options_.plan.kernel); });
  results.push_back(std::move(result));
}

nlohmann::json to_json(const Measurement& result, double copy) {
  return {{"shape", result.shape},
          {"pass", result.pass},
          {"seconds_median", result.median},
          {"seconds_best", result.best},
          {"seconds_worst", result.worst},
          {"gigabytes_per_second", result.bytes / result.median / 1e9},
          {"floor_seconds", result.bytes / copy},
          {"multiple_of_floor", result.median * copy / result.bytes},
          {"relative_rms", result.errors},
          {"plan", result.plan}};
}

std::string errors_text(const std::map<std::string, double>& errors) {
  std::string text;
  for (const auto& [name, error] : errors) {
    text += fmt::format("{}{} {:.2e}", text.empty() ? "" : ", ", name, error);
  }
  return text.empty() ? "-" : text;
}

void print_table(const std::vector<Measurement>& results, double copy) {
  fmt::print("{:<20} {:<8} {:>10} {:>10} {:>10} {:>8} {:>8}  {:<44} plan\n", "shape", "pass",
             "median us", "best", "worst", "GB/s", "x floor", "relative RMS against fp64");
  for (const Measurement& result : results) {
    fmt::print("{:<20} {:<8} {:>10.1f} {:>10.1f} {:>10.1f} {:>8.0f} {:>8.3f}  {:<44} {}\n",
               result.shape, result.pass, result.median * 1e6, result.best * 1e6,
               result.worst * 1e6, result.bytes / result.median / 1e9,
               result.median * copy / result.bytes, errors_text(result.errors), result.plan);
  }
}

}  // namespace

void bench_attention_gpu(const AttentionBenchOptions& options, const Device& device) {
  std::vector<AttentionShape> shapes;
  for (const std::string& text : options.shapes) {
    shapes.push_back(parse_attention_shape(text, options.varlen));
    attention_decays(options.slopes, shapes.back().heads);  // mistakes before any measurement
    if (options.pass == "step" && shapes.back().tokens > kAttentionStepTokens) {
      require(
          invalid_argument(fmt::format("--shapes: found '{}', expected at most {} tokens with "
                                       "--pass step",
                                       text, kAttentionStepTokens)));
    }
  }
  catch_interrupts();
  Bench bench(device, options);
  const double copy = bench.copy_bandwidth();
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const std::string& name = options.shapes[i];
    if (options.pass == "step") bench.step(name, shapes[i]);
    if (options.pass == "forward" || options.pass == "both") bench.forward(name, shapes[i]);
    if (options.pass == "backward" || options.pass == "both") bench.backward(name, shapes[i]);
  }
  const GpuProperties& gpu = device.properties().gpu;
  if (options.json) {
    nlohmann::json json = {{"device", gpu.model},
                           {"multiprocessors", gpu.multiprocessors},
                           {"copy_gigabytes_per_second", copy / 1e9},
                           {"planned_gigabytes_per_second", gpu.bytes_per_second / 1e9},
                           {"dtype", options.dtype},
                           {"slopes", options.slopes},
                           {"varlen", options.varlen},
                           {"reverse", options.reverse},
                           {"states", options.states},
                           {"graph", options.graph},
                           {"precision", options.plan.precision},
                           {"repeat", options.repeat},
                           {"results", nlohmann::json::array()}};
    for (const Measurement& result : bench.results)
      json["results"].push_back(to_json(result, copy));
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{}, {} multiprocessors, {}, slopes {}{}{}; copy {:.0f} GB/s, cold cache\n", gpu.model,
             gpu.multiprocessors, options.dtype, options.slopes,
             options.varlen.empty() ? "" : ", packed", options.states ? ", states in and out" : "",
             copy / 1e9);
  print_table(bench.results, copy);
}

}  // namespace tnl::command
