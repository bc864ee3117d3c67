#include "model/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backend/host_copy.h"
#include "core/convert.h"
#include "core/try.h"
#include "model/execution.h"
#include "model/safetensors.h"

namespace tnl {
namespace {

constexpr std::string_view kGradientPrefix = "grad.";
constexpr std::string_view kStatePrefix = "state.";

double relative_error(const SafetensorsEntry& expected, const void* found, DType found_dtype) {
  double difference = 0;
  double magnitude = 0;
  for (std::int64_t i = 0; i < expected.elements; ++i) {
    double want = 0;
    double have = 0;
    convert(expected.data + i * dtype_size(expected.dtype), expected.dtype, &want, DType::kF64, 1);
    convert(static_cast<const char*>(found) + i * dtype_size(found_dtype), found_dtype, &have,
            DType::kF64, 1);
    if (!std::isfinite(want - have)) return std::numeric_limits<double>::quiet_NaN();
    difference = std::max(difference, std::abs(want - have));
    magnitude = std::max(magnitude, std::abs(want));
  }
  return magnitude > 0 ? difference / magnitude : difference;
}

// One oracle file against one model.
class Verifier {
 public:
  Verifier(const Model& model, std::string file, const SafetensorsFile& oracle,
           const VerifyTolerances& tolerances)
      : model_(model), file_(std::move(file)), oracle_(oracle), tolerances_(tolerances) {}

  Result<std::vector<VerifiedTensor>> run() {
    TNL_TRY(read_inputs());
    TNL_TRY(check_names());
    TNL_ASSIGN(ModelState state, ModelState::create(model_, batch_));
    TNL_TRY(prompt(state));
    TNL_TRY(decode(state));
    TNL_TRY(training());
    return std::move(results_);
  }

 private:
  Status wrong(std::string_view name, std::string_view what) const {
    return invalid_argument(fmt::format("{}: tensor '{}': {}", file_, name, what));
  }

  // An i64 matrix; `rows` < 0 takes any number of rows.
  Status read_ids(const std::string& name, std::int64_t rows, std::vector<std::int64_t>& ids,
                  std::int64_t& cols) const {
    const SafetensorsEntry* entry = oracle_.find(name);
    if (entry == nullptr) return wrong(name, "found nothing, expected an i64 matrix");
    if (entry->dtype != DType::kI64 || entry->shape.size() != 2 ||
        (rows >= 0 && entry->shape[0] != rows) || entry->elements == 0) {
      return wrong(name, fmt::format("found {}[{}], expected i64[{}, tokens]",
                                     dtype_name(entry->dtype), fmt::join(entry->shape, ", "),
                                     rows < 0 ? "batch" : std::to_string(rows)));
    }
    ids.resize(static_cast<std::size_t>(entry->elements));
    std::memcpy(ids.data(), entry->data, ids.size() * sizeof(ids[0]));
    cols = entry->shape[1];
    return {};
  }

  Status to_tokens(const std::string& name, const std::vector<std::int64_t>& ids,
                   std::vector<std::int32_t>& tokens) const {
    for (const std::int64_t id : ids) {
      if (id < 0 || id >= model_.config().vocab_size) {
        return wrong(
            name, fmt::format("found id {}, expected 0 to {}", id, model_.config().vocab_size - 1));
      }
      tokens.push_back(static_cast<std::int32_t>(id));
    }
    return {};
  }

  Status read_inputs() {
    std::vector<std::int64_t> ids;
    TNL_TRY(read_ids("input_ids", -1, ids, length_));
    batch_ = static_cast<std::int64_t>(ids.size()) / length_;
    TNL_TRY(to_tokens("input_ids", ids, tokens_));
    mask_.assign(ids.size(), 1);
    if (oracle_.find("attention_mask") != nullptr) {
      std::int64_t cols = 0;
      TNL_TRY(read_ids("attention_mask", batch_, ids, cols));
      if (cols != length_) return wrong("attention_mask", "expected the shape of input_ids");
      for (std::size_t i = 0; i < ids.size(); ++i) mask_[i] = ids[i] != 0;
    }
    for (std::int64_t n = 0; n <= batch_; ++n) cu_seqlens_.push_back(n * length_);
    return {};
  }

  Status check_names() const {
    constexpr std::string_view kKnown[] = {"input_ids", "attention_mask", "logits",
                                           "next_ids",  "next_logits",    "loss"};
    for (const SafetensorsEntry& entry : oracle_.entries()) {
      const std::string& name = entry.name;
      if (std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown)) continue;
      if (name.starts_with(kStatePrefix)) {
        bool found = false;
        for (std::int64_t layer = 0; layer < model_.config().layers; ++layer) {
          found = found || name == fmt::format("{}{}", kStatePrefix, layer);
        }
        if (found) continue;
      }
      if (name.starts_with(kGradientPrefix)) {
        const auto& parameters = model_.parameters();
        if (std::any_of(parameters.begin(), parameters.end(), [&](const NamedTensor& parameter) {
              return parameter.name == name.substr(kGradientPrefix.size());
            })) {
          continue;
        }
      }
      return wrong(name, "is none of what an oracle of this model holds");
    }
    return {};
  }

  // Compares where the file has the tensor; `shape` is what the model gives.
  Status compare(const std::string& name, const std::vector<std::int64_t>& shape, const void* found,
                 DType dtype, double tolerance) {
    const SafetensorsEntry* expected = oracle_.find(name);
    if (expected == nullptr) return {};
    if (expected->shape != shape || !is_floating(expected->dtype)) {
      return wrong(name, fmt::format("found {}[{}], expected f32[{}]", dtype_name(expected->dtype),
                                     fmt::join(expected->shape, ", "), fmt::join(shape, ", ")));
    }
    results_.push_back({name, relative_error(*expected, found, dtype), tolerance});
    return {};
  }

  Result<HostCopy> download(const TensorView& view) const {
    return HostCopy::download(model_.device().backend(), view.data,
                              static_cast<std::size_t>(view.elements() * dtype_size(view.dtype)));
  }

  Status prompt(ModelState& state) {
    const std::int64_t vocab_size = model_.config().vocab_size;
    TNL_ASSIGN(Execution execution,
               Execution::create(model_, {.tokens = batch_ * length_, .sequences = batch_}));
    std::vector<float> logits(static_cast<std::size_t>(batch_ * length_ * vocab_size));
    const TokenBatch batch{
        .tokens = tokens_, .cu_seqlens = cu_seqlens_, .targets = {}, .mask = mask_};
    TNL_TRY(execution.forward(batch, &state, logits, /*all_logits=*/true));
    TNL_TRY(compare("logits", {batch_, length_, vocab_size}, logits.data(), DType::kF32,
                    tolerances_.values));
    for (std::int64_t layer = 0; layer < model_.config().layers; ++layer) {
      const TensorView& view = state.layer(layer);
      TNL_ASSIGN(const HostCopy host, download(view));
      TNL_TRY(compare(fmt::format("{}{}", kStatePrefix, layer),
                      {view.shape[0], view.shape[1], view.shape[2], view.shape[3]}, host.data(),
                      view.dtype, tolerances_.values));
    }
    return {};
  }

  Status decode(ModelState& state) {
    if (oracle_.find("next_ids") == nullptr) return {};
    std::vector<std::int64_t> ids;
    std::int64_t steps = 0;
    TNL_TRY(read_ids("next_ids", batch_, ids, steps));
    std::vector<std::int32_t> next;
    TNL_TRY(to_tokens("next_ids", ids, next));
    const std::int64_t vocab_size = model_.config().vocab_size;
    TNL_ASSIGN(Execution execution,
               Execution::create(model_, {.tokens = batch_, .sequences = batch_}));
    std::vector<std::int64_t> cu_seqlens;
    for (std::int64_t n = 0; n <= batch_; ++n) cu_seqlens.push_back(n);
    std::vector<std::int32_t> column(static_cast<std::size_t>(batch_));
    std::vector<float> rows(static_cast<std::size_t>(batch_ * vocab_size));
    std::vector<float> all(static_cast<std::size_t>(batch_ * steps * vocab_size));
    for (std::int64_t step = 0; step < steps; ++step) {
      for (std::int64_t n = 0; n < batch_; ++n) column[n] = next[n * steps + step];
      const TokenBatch batch{.tokens = column, .cu_seqlens = cu_seqlens, .targets = {}, .mask = {}};
      TNL_TRY(execution.forward(batch, &state, rows));
      for (std::int64_t n = 0; n < batch_; ++n) {
        std::copy_n(rows.data() + n * vocab_size, vocab_size,
                    all.data() + (n * steps + step) * vocab_size);
      }
    }
    return compare("next_logits", {batch_, steps, vocab_size}, all.data(), DType::kF32,
                   tolerances_.values);
  }

  Status training() {
    const bool gradients_wanted =
        std::any_of(oracle_.entries().begin(), oracle_.entries().end(),
                    [](const SafetensorsEntry& e) { return e.name.starts_with(kGradientPrefix); });
    if (!gradients_wanted && oracle_.find("loss") == nullptr) return {};
    std::vector<std::int32_t> targets(tokens_.size(), -1);
    std::int64_t count = 0;
    for (std::size_t i = 0; i + 1 < tokens_.size(); ++i) {
      const bool last = static_cast<std::int64_t>(i + 1) % length_ == 0;
      if (last || mask_[i + 1] == 0) continue;
      targets[i] = tokens_[i + 1];
      ++count;
    }
    if (count == 0) return wrong("input_ids", "found no target, expected two tokens or more");
    const TokenBatch batch{
        .tokens = tokens_, .cu_seqlens = cu_seqlens_, .targets = targets, .mask = mask_};
    const Execution::Limits limits{
        .tokens = batch_ * length_, .sequences = batch_, .training = gradients_wanted};
    TNL_ASSIGN(Execution execution, Execution::create(model_, limits));
    double sum = 0;
    if (gradients_wanted) {
      TNL_ASSIGN(Gradients gradients, Gradients::create(model_));
      TNL_ASSIGN(const LossSum loss,
                 execution.loss_and_gradients(batch, 1.0 / static_cast<double>(count), gradients));
      sum = loss.sum;
      TNL_TRY(compare_gradients(gradients));
    } else {
      std::vector<double> losses(tokens_.size());
      TNL_TRY(execution.losses(batch, nullptr, losses));
      for (const double loss : losses) sum += loss;
    }
    const double mean = sum / static_cast<double>(count);
    return compare("loss", {1}, &mean, DType::kF64, tolerances_.values);
  }

  Status compare_gradients(const Gradients& gradients) {
    for (std::size_t i = 0; i < gradients.count(); ++i) {
      const TensorView& view = gradients.tensor(i);
      const std::vector<std::int64_t> shape(view.shape.begin(), view.shape.begin() + view.rank);
      TNL_ASSIGN(const HostCopy host, download(view));
      TNL_TRY(compare(std::string(kGradientPrefix) + model_.parameters()[i].name, shape,
                      host.data(), view.dtype, tolerances_.gradients));
    }
    return {};
  }

  const Model& model_;
  const std::string file_;
  const SafetensorsFile& oracle_;
  const VerifyTolerances tolerances_;
  std::int64_t batch_ = 0, length_ = 0;
  std::vector<std::int32_t> tokens_;
  std::vector<std::uint8_t> mask_;
  std::vector<std::int64_t> cu_seqlens_;
  std::vector<VerifiedTensor> results_;
};

}  // namespace

Result<std::vector<VerifiedTensor>> verify_against_oracle(const Model& model,
                                                          const std::filesystem::path& oracle,
                                                          const VerifyTolerances& tolerances) {
  TNL_ASSIGN(const SafetensorsFile file, SafetensorsFile::open(oracle));
  return Verifier(model, oracle.string(), file, tolerances).run();
}

}  // namespace tnl
