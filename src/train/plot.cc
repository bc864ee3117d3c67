#include "train/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "train/svg.h"

namespace tnl {
namespace {

constexpr double kWidth = 960, kHeight = 540;
constexpr double kLeft = 76, kRight = 884, kTop = 56, kBottom = 480;
constexpr std::size_t kMostPoints = 600;
// Middle tones, readable on white and on black.
constexpr std::string_view kText = "#7d8590";
constexpr std::string_view kColors[] = {"#3f8fd6", "#e0803c", "#3fa36b", "#b56fd0",
                                        "#d1605c", "#9a8f3d", "#4aa8a8", "#8c8c8c"};

struct Point {
  double at = 0, value = 0;  // at: steps, tokens or seconds
};
using Curve = std::vector<Point>;

struct RunCurves {
  std::string name;
  Curve raw, smooth, held_out;
  std::optional<double> last_bits_per_byte;
};

// The mean over the steps around each: 1/50 of the curve, fewer at its beginning, where it falls
// fast.
Curve smoothed(const Curve& raw) {
  std::vector<double> sums = {0};
  for (const Point& point : raw) sums.push_back(sums.back() + point.value);
  Curve smooth;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const std::size_t half = std::min(std::max<std::size_t>(raw.size() / 100, 2), i / 4);
    const std::size_t begin = i - half;
    const std::size_t end = std::min(i + half + 1, raw.size());
    smooth.push_back({raw[i].at, (sums[end] - sums[begin]) / static_cast<double>(end - begin)});
  }
  return smooth;
}

// At most 2 * kMostPoints points: the lowest and the highest of every stretch.
Curve thinned(const Curve& curve) {
  if (curve.size() <= 2 * kMostPoints) return curve;
  const auto less = [](const Point& a, const Point& b) { return a.value < b.value; };
  Curve thin;
  for (std::size_t i = 0; i < kMostPoints; ++i) {
    const auto begin = curve.begin() + static_cast<std::ptrdiff_t>(i * curve.size() / kMostPoints);
    const auto end =
        curve.begin() + static_cast<std::ptrdiff_t>((i + 1) * curve.size() / kMostPoints);
    const auto [low, high] = std::minmax_element(begin, end, less);
    thin.push_back(*std::min(low, high));
    if (low != high) thin.push_back(*std::max(low, high));
  }
  return thin;
}

bool plottable(double value) {
  return std::isfinite(value) && value >= 0 && value < 1e9;
}

// Where each step lies on the axis.
class Progression {
 public:
  explicit Progression(PlotAxis axis) : axis_(axis) {}

  double advance(const MetricsLine& line) {
    const auto tokens = static_cast<double>(line.tokens);
    if (axis_ == PlotAxis::kSteps) return at_ = static_cast<double>(line.step);
    if (axis_ == PlotAxis::kTokens) return at_ += tokens;
    const double seconds = tokens / line.tokens_per_second;
    if (seconds > 0 && seconds < 1e9) at_ += seconds;
    return at_;
  }

 private:
  PlotAxis axis_;
  double at_ = 0;
};

RunCurves make_curves(const PlotRun& run, const PlotOptions& options) {
  RunCurves curves{
      .name = run.name, .raw = {}, .smooth = {}, .held_out = {}, .last_bits_per_byte = {}};
  Progression progression(options.over);
  for (const MetricsLine& line : run.lines) {
    if (line.step < 1) continue;
    const double at = progression.advance(line);
    if (plottable(line.loss) && !options.held_out_only) curves.raw.push_back({at, line.loss});
    if (plottable(line.held_out_loss)) {
      curves.held_out.push_back({at, line.held_out_loss});
      if (line.held_out_bits_per_byte >= 0) curves.last_bits_per_byte = line.held_out_bits_per_byte;
    }
  }
  curves.smooth = smoothed(curves.raw);
  return curves;
}

// Bits per byte for one nat per token, where all evaluations of all runs agree on it.
std::optional<double> bits_per_byte_factor(const std::vector<PlotRun>& runs) {
  std::optional<double> factor;
  for (const PlotRun& run : runs) {
    for (const MetricsLine& line : run.lines) {
      if (!(line.held_out_loss > 0) || !(line.held_out_bits_per_byte > 0)) continue;
      const double here = line.held_out_bits_per_byte / line.held_out_loss;
      if (factor && std::abs(here / *factor - 1) > 0.01) return std::nullopt;
      factor = here;
    }
  }
  return factor && std::isfinite(*factor) ? factor : std::nullopt;
}

struct Range {
  double low = 0, high = 1;
};

// Adds the values of a curve, but for the highest and lowest 0.5 % (spikes) and the fall of the
// first 3 % of the way, which would press the rest into a corner.
void include(const Curve& curve, double last, Range& range) {
  std::vector<double> values;
  for (const Point& point : curve) {
    if (curve.size() < 100 || point.at >= 0.03 * last) values.push_back(point.value);
  }
  if (values.empty()) return;
  std::sort(values.begin(), values.end());
  const std::size_t spikes = values.size() / 200;
  range.low = std::min(range.low, values[spikes]);
  range.high = std::max(range.high, values[values.size() - 1 - spikes]);
}

Range value_range(const std::vector<RunCurves>& runs, double last) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Range range{kInfinity, -kInfinity};
  for (const RunCurves& run : runs) {
    include(run.raw, last, range);
    include(run.held_out, last, range);
  }
  if (!std::isfinite(range.low)) return {0, 1};
  const double margin = std::max({0.05 * (range.high - range.low), 0.01 * range.high, 1e-6});
  return {std::max(range.low - margin, 0.0), range.high + margin};
}

// Multiples of 1, 2 or 5 times a power of ten, about `count` of them in the range.
struct Ticks {
  double first = 0, step = 1;
  int digits = 0;

  Ticks(Range range, int count, double least_step = 0) {
    const double rough = std::max((range.high - range.low) / count, least_step);
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double share = rough / power;
    step = power * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
    first = std::ceil(range.low / step - 1e-9) * step + 0.0;  // no -0
    digits = std::clamp(static_cast<int>(-std::floor(std::log10(step) + 1e-9)), 0, 9);
  }
};

std::string place_label(double place) {
  if (place >= 1e6) return fmt::format("{:g}M", place / 1e6);
  if (place >= 1e4) return fmt::format("{:g}k", place / 1e3);
  return fmt::format("{:.6g}", place);
}

std::string_view caption(PlotAxis axis) {
  switch (axis) {
    case PlotAxis::kTokens:
      return "tokens";
    case PlotAxis::kSeconds:
      return "seconds of training";
    default:
      return "step";
  }
}

class Picture {
 public:
  Picture(Range across, Range values) : svg_(kWidth, kHeight), across_(across), values_(values) {}

  void axes(PlotAxis axis, std::optional<double> bits_factor) {
    const Ticks across(across_, 8, axis == PlotAxis::kSeconds ? 0 : 1);
    for (double at = across.first; at <= across_.high * (1 + 1e-9); at += across.step) {
      const double x = place({at, 0}).x;
      svg_.line({x, kBottom}, {x, kBottom + 5}, {.color = kText});
      svg_.text({x, kBottom + 20}, place_label(at),
                {.color = kText, .anchor = Svg::Anchor::kMiddle});
    }
    svg_.line({kLeft, kBottom}, {kRight, kBottom}, {.color = kText});
    svg_.text({(kLeft + kRight) / 2, kBottom + 42}, caption(axis),
              {.color = kText, .anchor = Svg::Anchor::kMiddle});
    const Ticks up(values_, 7);
    for (double value = up.first; value <= values_.high; value += up.step) {
      const double y = place({0, value}).y;
      svg_.line({kLeft, y}, {kRight, y}, {.color = kText, .opacity = 0.22});
      svg_.text({kLeft - 8, y + 4.5}, fmt::format("{:.{}f}", value, up.digits),
                {.color = kText, .anchor = Svg::Anchor::kEnd});
    }
    svg_.text({18, (kTop + kBottom) / 2}, "loss, nats per token",
              {.color = kText, .anchor = Svg::Anchor::kMiddle, .rotation = -90});
    if (bits_factor) bits_axis(*bits_factor);
  }

  void title(std::string_view text) {
    svg_.text({kLeft, 30}, text, {.size = 17, .color = kText, .bold = true});
  }

  void run(const RunCurves& curves, std::string_view color, std::string_view held_out_color) {
    svg_.polyline(placed(thinned(curves.raw)), {.color = color, .opacity = 0.28});
    svg_.polyline(placed(thinned(curves.smooth)), {.color = color, .width = 2.2});
    if (curves.smooth.size() == 1) svg_.circle(place(curves.smooth[0]), 3, color);
    svg_.polyline(placed(thinned(curves.held_out)),
                  {.color = held_out_color, .width = 1.6, .dashed = true});
    if (curves.held_out.size() > 60) return;  // the dots would touch
    for (const Point& point : curves.held_out) svg_.circle(place(point), 3.6, held_out_color);
  }

  void begin_curves() { svg_.begin_clip({kLeft, kTop - 6}, {kRight + 6, kBottom}); }
  void end_curves() { svg_.end_clip(); }

  // Rows at the top right, where falling curves leave room.
  void legend(std::string_view text, std::string_view color, bool held_out) {
    const double y = kTop + 14 + 20 * rows_++;
    constexpr double kMark = kRight - 12;
    svg_.line({kMark - 26, y - 4}, {kMark, y - 4},
              {.color = color, .width = held_out ? 1.6 : 2.2, .dashed = held_out});
    if (held_out) svg_.circle({kMark - 13, y - 4}, 3.6, color);
    svg_.text({kMark - 34, y}, text, {.color = kText, .anchor = Svg::Anchor::kEnd});
  }

  void remark(std::string_view text) {
    svg_.text({(kLeft + kRight) / 2, (kTop + kBottom) / 2}, text,
              {.size = 15, .color = kText, .anchor = Svg::Anchor::kMiddle});
  }

  std::string finish() && { return std::move(svg_).finish(); }

 private:
  void bits_axis(double factor) {
    const Ticks up({values_.low * factor, values_.high * factor}, 7);
    for (double bits = up.first; bits <= values_.high * factor; bits += up.step) {
      const double y = place({0, bits / factor}).y;
      svg_.line({kRight, y}, {kRight + 5, y}, {.color = kText});
      svg_.text({kRight + 9, y + 4.5}, fmt::format("{:.{}f}", bits, up.digits), {.color = kText});
    }
    svg_.line({kRight, kTop - 6}, {kRight, kBottom}, {.color = kText});
    svg_.text({kWidth - 18, (kTop + kBottom) / 2}, "bits per byte",
              {.color = kText, .anchor = Svg::Anchor::kMiddle, .rotation = 90});
  }

  // Points far above the range stay just outside the clip, so that no coordinate grows large.
  SvgPoint place(const Point& point) const {
    const double across = (point.at - across_.low) / (across_.high - across_.low);
    const double up = (point.value - values_.low) / (values_.high - values_.low);
    return {kLeft + across * (kRight - kLeft),
            kBottom - std::clamp(up, -10.0, 10.0) * (kBottom - kTop)};
  }

  std::vector<SvgPoint> placed(const Curve& curve) const {
    std::vector<SvgPoint> points;
    for (const Point& point : curve) points.push_back(place(point));
    return points;
  }

  Svg svg_;
  Range across_, values_;
  int rows_ = 0;
};

std::string held_out_label(const RunCurves& run) {
  std::string label = fmt::format("held-out, last {:.3f}", run.held_out.back().value);
  if (run.last_bits_per_byte)
    label += fmt::format(" ({:.3f} bits per byte)", *run.last_bits_per_byte);
  return label;
}

}  // namespace

std::string loss_plot(const std::vector<PlotRun>& runs, const PlotOptions& options) {
  std::vector<RunCurves> curves;
  double last = 0;
  bool empty = true;
  for (const PlotRun& run : runs) {
    curves.push_back(make_curves(run, options));
    for (const Curve* curve : {&curves.back().raw, &curves.back().held_out}) {
      if (curve->empty()) continue;
      empty = false;
      last = std::max(last, curve->back().at);
    }
  }
  Picture picture({0, last > 0 ? last : 1}, value_range(curves, last));
  picture.axes(options.over, bits_per_byte_factor(runs));
  const bool one = curves.size() == 1;
  picture.title(!options.title.empty() ? options.title : one ? curves[0].name : "Loss");
  picture.begin_curves();
  // A single run shows its held-out loss in a color of its own; several keep one color each.
  const auto color = [](std::size_t i) { return kColors[i % std::size(kColors)]; };
  for (std::size_t i = 0; i < curves.size(); ++i)
    picture.run(curves[i], color(i), color(one ? 1 : i));
  picture.end_curves();
  for (std::size_t i = 0; i < curves.size(); ++i) {
    const std::string prefix = one ? "" : curves[i].name + ": ";
    if (!options.held_out_only) picture.legend(prefix + "training", color(i), false);
    if (curves[i].held_out.empty()) continue;
    picture.legend(prefix + held_out_label(curves[i]), color(one ? 1 : i), true);
  }
  if (empty) picture.remark("no finite loss yet");
  return std::move(picture).finish();
}

}  // namespace tnl
