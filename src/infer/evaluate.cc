#include "infer/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/try.h"
#include "infer/text_blocks.h"
#include "model/execution.h"

namespace tnl {
namespace {

// Sums -ln p of each token given all before it. One token stays pending, as the target of every
// input has to be known.
class CodeLength {
 public:
  static Result<CodeLength> create(const Model& model, std::int32_t bos, std::int64_t chunk) {
    TNL_ASSIGN(ModelState state, ModelState::create(model, 1));
    TNL_ASSIGN(Execution execution, Execution::create(model, {.tokens = chunk, .sequences = 1}));
    CodeLength length(std::move(state), std::move(execution), chunk);
    if (bos >= 0) {
      length.pending_.push_back(bos);
    } else {
      length.nats_ = std::log(static_cast<double>(model.config().vocab_size));
    }
    return length;
  }

  double nats() const { return nats_; }
  void push(std::span<const std::int32_t> ids) {
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(done_));
    done_ = 0;
    pending_.insert(pending_.end(), ids.begin(), ids.end());
  }
  // How many tokens still have to be predicted.
  std::int64_t left() const {
    return std::max<std::int64_t>(static_cast<std::int64_t>(pending_.size() - done_) - 1, 0);
  }
  // Predicts up to a chunk of them.
  Status step() {
    const auto count = static_cast<std::size_t>(std::min(left(), chunk_));
    const std::span<const std::int32_t> tokens = std::span(pending_).subspan(done_, count + 1);
    const std::int64_t cu_seqlens[] = {0, static_cast<std::int64_t>(count)};
    TNL_TRY(execution_.losses(
        {.tokens = tokens.first(count), .cu_seqlens = cu_seqlens, .targets = tokens.subspan(1)},
        &state_, std::span(losses_).first(count)));
    for (std::size_t i = 0; i < count; ++i) nats_ += losses_[i];
    done_ += count;
    if (std::isfinite(nats_)) return {};
    return invalid_argument(fmt::format(
        "the model gives a probability that is not finite before token {} of the text: its "
        "parameters are broken",
        std::as_const(state_).positions()[0]));
  }

 private:
  CodeLength(ModelState state, Execution execution, std::int64_t chunk)
      : state_(std::move(state)), execution_(std::move(execution)), chunk_(chunk), losses_(chunk) {}

  ModelState state_;
  Execution execution_;
  std::int64_t chunk_;
  std::vector<double> losses_;
  std::vector<std::int32_t> pending_;
  std::size_t done_ = 0;  // of pending_: read by the model
  double nats_ = 0;
};

Result<bool> gives_back(const Tokenizer& tokenizer, std::span<const std::int32_t> ids, bool first,
                        std::string_view text) {
  for (const std::int32_t id : ids) {
    TNL_ASSIGN(const std::string piece, tokenizer.piece(id, first));
    if (!text.starts_with(piece)) return false;
    text.remove_prefix(piece.size());
    first = first && tokenizer.special(id);
  }
  return text.empty();
}

Status check(const Model& model, const Tokenizer& tokenizer, const EvaluateOptions& options) {
  if (options.chunk < 1) {
    return invalid_argument(fmt::format("chunk is {}, expected at least 1 token", options.chunk));
  }
  if (tokenizer.vocab_size() > model.config().vocab_size) {
    return invalid_argument(
        fmt::format("the tokenizer has {} ids but the model's vocabulary only {}: they do not "
                    "belong together",
                    tokenizer.vocab_size(), model.config().vocab_size));
  }
  return {};
}

}  // namespace

double Evaluation::nats_per_token() const {
  return nats / static_cast<double>(tokens);
}

double Evaluation::perplexity() const {
  return std::exp(nats_per_token());
}

double Evaluation::bits_per_byte() const {
  return nats / std::numbers::ln2 / static_cast<double>(bytes);
}

Result<Evaluation> evaluate(const Model& model, const Tokenizer& tokenizer, std::istream& text,
                            const EvaluateOptions& options,
                            const std::function<bool(const Evaluation&)>& progress) {
  TNL_TRY(check(model, tokenizer, options));
  TNL_ASSIGN(CodeLength length, CodeLength::create(model, tokenizer.bos_id(), options.chunk));
  TextBlocks blocks(text, tokenizer);
  std::string block;
  std::vector<std::int32_t> ids;
  Evaluation sum;
  while (true) {
    TNL_ASSIGN(const bool more, blocks.next(block));
    if (!more) break;
    ids.clear();
    TNL_TRY(tokenizer.encode_part(block, sum.bytes == 0, ids));
    TNL_ASSIGN(const bool same, gives_back(tokenizer, ids, sum.bytes == 0, block));
    sum.lossless = sum.lossless && same;
    length.push(ids);
    const Evaluation before = sum;
    const double all = static_cast<double>(std::max<std::int64_t>(length.left(), 1));
    while (length.left() > 0) {
      TNL_TRY(length.step());
      // Within a block the bytes are those of the average token.
      const double share = 1.0 - static_cast<double>(length.left()) / all;
      sum.tokens = before.tokens + std::llround(share * static_cast<double>(ids.size()));
      sum.bytes = before.bytes + std::llround(share * static_cast<double>(block.size()));
      sum.nats = length.nats();
      if (!progress(sum)) {
        return interrupted(
            fmt::format("stopped after {} bytes, {} tokens; so far {:.4f} bits a byte", sum.bytes,
                        sum.tokens, sum.bits_per_byte()));
      }
    }
    sum.tokens = before.tokens + static_cast<std::int64_t>(ids.size());
    sum.bytes = before.bytes + static_cast<std::int64_t>(block.size());
    sum.nats = length.nats();
  }
  if (sum.tokens == 0) return invalid_argument("the text is empty: there is nothing to predict");
  return sum;
}

}  // namespace tnl
