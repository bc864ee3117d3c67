// metrics.jsonl of a run, and the plot of it.
#include "train/metrics.h"

#include <cmath>

#include "fuzz/support.h"
#include "train/plot.h"

namespace tnl::fuzz {
namespace {

bool same(double a, double b) {
  return a == b || (std::isnan(a) && std::isnan(b));
}

void read(std::string_view input) {
  const fs::path file = workplace().write("metrics.jsonl", input);
  const AllocationLimit limit(input.size());
  const auto lines = read_metrics(file);
  if (lines.ok()) {
    FUZZ_CHECK(loss_plot({{"run", *lines}}).ends_with("</svg>\n"));
  } else {
    check_sentence(lines.status());
  }
  // A resumed run keeps a prefix of whole lines with rising steps and goes on behind it.
  constexpr std::int64_t kStep = 3;
  {
    auto log = MetricsLog::open(file, kStep);
    FUZZ_CHECK(log.ok() && log->last_step() <= kStep);
    FUZZ_CHECK(log->append({.step = kStep + 1, .loss = 2.5}).ok());
  }
  const auto again = read_metrics(file);
  FUZZ_CHECK(again.ok() && !again->empty() && again->back().step == kStep + 1);
  FUZZ_CHECK(again->back().loss == 2.5);
  for (std::size_t i = 0; i + 1 < again->size(); ++i) {
    FUZZ_CHECK((*again)[i].step < (*again)[i + 1].step);
    if (lines.ok()) FUZZ_CHECK(same((*again)[i].loss, (*lines)[i].loss));
  }
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
