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

enum class PlotAxis { kSteps, kTokens, kSeconds };

struct PlotOptions {
  // What the loss is drawn over. Tokens and seconds of the steps are added up; seconds are those of
  // training, without evaluations and checkpoints. Steps that do not say them count as 0.
  PlotAxis over = PlotAxis::kSteps;
  bool held_out_only = false;  // no training loss
  std::string title = {};      // empty: the name of the run, or "Loss" for several
};

// An SVG document: each run's training loss raw (faint) and smoothed, and its held-out loss where
// it was evaluated. Where all runs agree on how many bytes a token is, a second axis reads the same
// curves in bits per byte. Values that are not finite are left out. Lines are thinned to what the
// width can show, so the size does not grow with the runs.
std::string loss_plot(const std::vector<PlotRun>& runs, const PlotOptions& options = {});

}  // namespace tnl
