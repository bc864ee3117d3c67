// The loss of one or several runs as a picture.
#pragma once

#include <string>
#include <vector>

#include "train/metrics.h"

namespace tnl {

struct PlotRun {
  std::string name;
  std::vector<MetricsLine> lines;
};

// An SVG document: loss over steps, each run's training loss raw (faint) and smoothed, and its
// held-out loss where it was evaluated. Where all runs agree on how many bytes a token is, a second
// axis reads the same curves in bits per byte. Values that are not finite are left out. Lines are
// thinned to what the width can show, so the size does not grow with the runs.
std::string loss_plot(const std::vector<PlotRun>& runs);

}  // namespace tnl
