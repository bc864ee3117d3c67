#include "text/held_out.h"

#include <algorithm>
#include <cmath>

#include "core/checksum.h"
#include "core/try.h"
#include "text/document_reader.h"

namespace tnl {
namespace {

constexpr double kEnough = 16;  // documents or blocks that the held-out split should come from
constexpr double kLargestBlock = std::size_t{1} << 20, kSmallestBlock = 64;

struct Extent {
  std::int64_t documents = 0, bytes = 0;
  bool complete = true;  // false: there are at least so many
};

Result<Extent> measure(const PackOptions& options, const std::vector<InputFile>& files,
                       double enough) {
  DocumentReaderOptions reading;
  reading.separator = options.document_separator;
  reading.last_cut = [](std::string_view text) { return text.size(); };
  DocumentReader reader(files, reading);
  Extent extent;
  RawBatch batch;
  for (;;) {
    TNL_ASSIGN(const bool more, reader.next(batch));
    if (!more) return extent;
    extent.bytes += static_cast<std::int64_t>(batch.data.size());
    extent.documents += batch.file->records
                            ? std::count(batch.data.begin(), batch.data.end(), '\n')
                            : std::count_if(batch.parts.begin(), batch.parts.end(),
                                            [](const TextPart& part) { return part.last; });
    if (static_cast<double>(extent.documents) >= enough) {
      extent.complete = false;
      return extent;
    }
  }
}

}  // namespace

Dataset::Split HeldOutPlan::split(std::int64_t number) const {
  const auto draw = [this](std::int64_t index) {
    return mix64(mix64(seed) + 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(index + 1));
  };
  if (share <= 0) return Dataset::Split::kTrain;
  if (block_bytes == 0) {
    const double uniform = static_cast<double>(draw(number) >> 11) * 0x1.0p-53;
    return uniform < share ? Dataset::Split::kHeldOut : Dataset::Split::kTrain;
  }
  const auto run = std::max<std::int64_t>(2, std::llround(1 / share));
  const auto chosen =
      static_cast<std::int64_t>(draw(number / run) % static_cast<std::uint64_t>(run));
  return number % run == chosen ? Dataset::Split::kHeldOut : Dataset::Split::kTrain;
}

Result<HeldOutPlan> plan_held_out(const PackOptions& options, const std::vector<InputFile>& files) {
  HeldOutPlan plan{.share = options.held_out, .seed = options.seed, .block_bytes = 0};
  if (options.held_out <= 0 || options.held_out_by == HeldOutBy::kDocument) return plan;
  const bool automatic = options.held_out_by == HeldOutBy::kAuto;
  const double enough = automatic ? kEnough / options.held_out : HUGE_VAL;
  TNL_ASSIGN(const Extent extent, measure(options, files, enough));
  if (!extent.complete) return plan;
  const double held_out_bytes = static_cast<double>(extent.bytes) * options.held_out;
  const double smallest = std::clamp(held_out_bytes, 1.0, kSmallestBlock);
  plan.block_bytes =
      static_cast<std::size_t>(std::clamp(held_out_bytes / kEnough, smallest, kLargestBlock));
  return plan;
}

}  // namespace tnl
