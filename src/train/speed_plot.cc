#include "train/speed_plot.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "train/svg.h"

namespace tnl {
namespace {

constexpr double kWidth = 960, kHeight = 420;
constexpr double kLeft = 76, kRight = 920, kTop = 56, kBottom = 360;
// Middle tones, readable on white and on black.
constexpr std::string_view kText = "#7d8590";
constexpr std::string_view kColors[] = {"#3f8fd6", "#e0803c", "#3fa36b",
                                        "#b56fd0", "#d1605c", "#9a8f3d"};

struct Extent {
  double low = 0, high = 1;  // log2 of the lengths
  double most = 1;           // microseconds
};

bool plottable(const SpeedCurve::Point& point) {
  return point.length >= 1 && std::isfinite(point.seconds) && point.seconds > 0;
}

std::optional<Extent> extent_of(const std::vector<SpeedCurve>& curves) {
  std::optional<Extent> extent;
  for (const SpeedCurve& curve : curves) {
    for (const SpeedCurve::Point& point : curve.points) {
      if (!plottable(point)) continue;
      const double across = std::log2(static_cast<double>(point.length));
      if (!extent) extent = Extent{across, across, 0};
      extent->low = std::min(extent->low, across);
      extent->high = std::max(extent->high, across);
      extent->most = std::max(extent->most, point.seconds * 1e6);
    }
  }
  if (extent && extent->high == extent->low) extent->high += 1;
  return extent;
}

// 1, 2 or 5 times a power of ten, about five of them up to `most`.
double tick_of(double most) {
  const double power = std::pow(10, std::floor(std::log10(most / 5)));
  const double share = most / 5 / power;
  return power * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
}

class Picture {
 public:
  explicit Picture(const Extent& extent) : svg_(kWidth, kHeight), extent_(extent) {
    extent_.most *= 1.25;  // room for the names
  }

  void axes(const std::string& title) {
    svg_.text({kLeft, 30}, title, {.size = 17, .color = kText, .bold = true});
    const double tick = tick_of(extent_.most);
    for (double value = 0; value <= extent_.most; value += tick) {
      const double y = place(extent_.low, value).y;
      svg_.line({kLeft, y}, {kRight, y}, {.color = kText, .opacity = value == 0 ? 1 : 0.22});
      svg_.text({kLeft - 8, y + 4.5}, fmt::format("{:g}", value),
                {.color = kText, .anchor = Svg::Anchor::kEnd});
    }
    for (double power = 0; power < 13; ++power) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double length = factor * std::pow(10, power);
        const double across = std::log2(length);
        if (across < extent_.low - 1e-9 || across > extent_.high + 1e-9) continue;
        const double x = place(across, 0).x;
        svg_.line({x, kBottom}, {x, kBottom + 5}, {.color = kText});
        svg_.text({x, kBottom + 20},
                  length >= 1e6   ? fmt::format("{:g}M", length / 1e6)
                  : length >= 1e3 ? fmt::format("{:g}k", length / 1e3)
                                  : fmt::format("{:g}", length),
                  {.color = kText, .anchor = Svg::Anchor::kMiddle});
      }
    }
    svg_.text({(kLeft + kRight) / 2, kBottom + 44}, "length of the text, tokens",
              {.color = kText, .anchor = Svg::Anchor::kMiddle});
    svg_.text({20, (kTop + kBottom) / 2}, "microseconds a token",
              {.color = kText, .anchor = Svg::Anchor::kMiddle, .rotation = -90});
  }

  void curve(const SpeedCurve& curve, std::string_view color) {
    std::vector<SvgPoint>& placed = placed_.emplace_back();
    for (const SpeedCurve::Point& point : curve.points) {
      if (!plottable(point)) continue;
      placed.push_back(place(std::log2(static_cast<double>(point.length)), point.seconds * 1e6));
      svg_.circle(placed.back(), 3.6, color);
    }
    std::ranges::sort(placed, {}, &SvgPoint::x);
    svg_.polyline(placed, {.color = color, .width = 2.2});
  }

  // Of the n-th curve, once all are drawn: over or under one of its points, where the fewest lines
  // and names are in its way, the last point first.
  void name(std::size_t n, std::string_view name, std::string_view color) {
    constexpr double kCharacter = 7.8, kAbove = 12, kBelow = 22;
    // Of UTF-8: bytes that begin a character.
    const auto characters = std::ranges::count_if(name, [](char c) { return (c & 0xc0) != 0x80; });
    const double width = kCharacter * static_cast<double>(characters);
    std::optional<Box> best;
    double fewest = 0;
    for (std::size_t i = placed_[n].size(); i-- > 0;) {
      for (const double rise : {-kAbove, kBelow}) {
        const double right = std::clamp(kLeft + width, placed_[n][i].x, kWidth);
        const Box box{right - width, right, placed_[n][i].y + rise};
        const double found = in_the_way(box);
        if (best && found >= fewest) continue;
        best = box;
        fewest = found;
      }
    }
    if (!best) return;
    names_.push_back(*best);
    svg_.text({best->right, best->baseline}, name,
              {.color = color, .anchor = Svg::Anchor::kEnd, .bold = true});
  }

  std::string finish() && { return std::move(svg_).finish(); }

 private:
  SvgPoint place(double across, double microseconds) const {
    return {kLeft + (across - extent_.low) / (extent_.high - extent_.low) * (kRight - kLeft),
            kBottom - microseconds / extent_.most * (kBottom - kTop)};
  }

  // Of a name: as high as its letters.
  struct Box {
    double left, right, baseline;
    double top() const { return baseline - 14; }
    double bottom() const { return baseline + 5; }
  };

  double in_the_way(const Box& box) const {
    double found = box.top() < kTop - 20 || box.bottom() > kBottom ? 1000 : 0;
    for (const Box& name : names_) {
      if (name.left < box.right && box.left < name.right && name.top() < box.bottom() &&
          box.top() < name.bottom()) {
        found += 100;
      }
    }
    constexpr double kStep = 6;
    for (const std::vector<SvgPoint>& line : placed_) {
      for (std::size_t i = 0; i + 1 < line.size(); ++i) {
        const SvgPoint &from = line[i], &to = line[i + 1];
        for (double x = std::max(from.x, box.left); x <= std::min(to.x, box.right); x += kStep) {
          const double share = to.x > from.x ? (x - from.x) / (to.x - from.x) : 0;
          const double y = from.y + share * (to.y - from.y);
          if (y > box.top() && y < box.bottom()) ++found;
        }
      }
    }
    return found;
  }

  Svg svg_;
  Extent extent_;
  std::vector<std::vector<SvgPoint>> placed_;  // of every curve, from left to right
  std::vector<Box> names_;
};

}  // namespace

std::string speed_plot(const std::vector<SpeedCurve>& curves, const std::string& title) {
  const std::optional<Extent> extent = extent_of(curves);
  Picture picture(extent.value_or(Extent{}));
  picture.axes(title);
  for (std::size_t i = 0; i < curves.size(); ++i) {
    picture.curve(curves[i], kColors[i % std::size(kColors)]);
  }
  for (std::size_t i = 0; i < curves.size(); ++i) {
    picture.name(i, curves[i].name, kColors[i % std::size(kColors)]);
  }
  return std::move(picture).finish();
}

}  // namespace tnl
