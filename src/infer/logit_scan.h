// Passes over the logits of a whole vocabulary, many at a time.
#pragma once

#include <span>

namespace tnl {

struct LogitRange {
  float top;    // the largest: -infinity where every token is excluded; of no meaning where
  bool broken;  // one is NaN or +infinity
};
LogitRange scan_logits(std::span<const float> logits);

bool any_above(std::span<const float> values, float bound);

// weights[i] = exp((logits[i] - top) / temperature), to 1e-5 of itself (6e-7 from e^-5 up), and 0
// from e^-87 down and for logits of -infinity. Temperatures below 1e-30 count as that; differences
// beyond the range of float as infinite. Returns the sum. The same bits on every processor of a
// kind.
double softmax_weights(std::span<const float> logits, float top, double temperature,
                       std::span<float> weights);

double sum(std::span<const float> weights);
// Of the weights that are `least` or more.
double sum_from(std::span<const float> weights, float least);

}  // namespace tnl
