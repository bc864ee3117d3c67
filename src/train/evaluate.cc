#include "train/evaluate.h"

#include <algorithm>
#include <numbers>
#include <string>

#include "core/try.h"
#include "train/setup.h"

namespace tnl {

Result<Evaluator> Evaluator::create(const Dataset& dataset, const Tokenizer& tokenizer,
                                    const TrainConfig& config) {
  const std::int64_t all = dataset.tokens(Dataset::Split::kHeldOut);
  const std::int64_t tokens = config.eval_tokens == 0 ? all : std::min(all, config.eval_tokens);
  const LoaderOptions options = loader_options(config, Dataset::Split::kHeldOut);
  Evaluator evaluator(dataset, options, tokens);
  evaluator.piece_bytes_.assign(static_cast<std::size_t>(dataset.vocab_size()), 0);
  const std::int64_t known = std::min(dataset.vocab_size(), tokenizer.vocab_size());
  for (std::int64_t id = 0; id < known; ++id) {
    TNL_ASSIGN(const std::string piece, tokenizer.piece(static_cast<std::int32_t>(id), false));
    evaluator.piece_bytes_[id] = static_cast<std::int32_t>(piece.size());
  }
  return evaluator;
}

Result<HeldOut> Evaluator::run(Execution& execution) {
  TNL_ASSIGN(DataLoader loader, DataLoader::create(dataset_, options_));
  BatchOutline outline;
  DataBatch buffer;
  double nats = 0;
  std::int64_t seen = 0, targets = 0, bytes = 0;
  const auto add = [&](const TokenBatch& chunk, std::span<const double> losses) {
    for (std::size_t t = 0; t < losses.size(); ++t) {
      if (chunk.targets[t] < 0) continue;
      nats += losses[t];
      bytes += piece_bytes_[chunk.targets[t]];
      ++targets;
    }
  };
  while (seen < tokens_) {
    TNL_ASSIGN(const bool more, loader.next(outline));
    if (!more) break;
    TNL_TRY(execution.losses(read_long_batch(loader, outline, buffer), add));
    seen += outline.tokens();
  }
  HeldOut result;
  if (targets > 0) result.loss = nats / static_cast<double>(targets);
  if (bytes > 0) result.bits_per_byte = nats / std::numbers::ln2 / static_cast<double>(bytes);
  return result;
}

}  // namespace tnl
