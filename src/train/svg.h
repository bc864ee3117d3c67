// The little of SVG that a plot needs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tnl {

struct SvgPoint {
  double x = 0, y = 0;
};

class Svg {
 public:
  struct Stroke {
    std::string_view color;
    double width = 1;
    double opacity = 1;
    bool dashed = false;
  };
  enum class Anchor { kStart, kMiddle, kEnd };
  struct TextStyle {
    double size = 13;
    std::string_view color;
    Anchor anchor = Anchor::kStart;
    bool bold = false;
    double rotation = 0;  // degrees, around the position
  };

  Svg(double width, double height);

  void line(SvgPoint from, SvgPoint to, const Stroke& stroke);
  // Nothing for fewer than two points.
  void polyline(const std::vector<SvgPoint>& points, const Stroke& stroke);
  void circle(SvgPoint center, double radius, std::string_view color);
  void text(SvgPoint position, std::string_view content, const TextStyle& style);
  // What follows, until end_clip(), is drawn inside the rectangle only. Once a picture.
  void begin_clip(SvgPoint top_left, SvgPoint bottom_right);
  void end_clip();

  // The whole document.
  std::string finish() &&;

 private:
  std::string body_;
};

// Text between tags or in an attribute: markup characters as entities, bytes that are no UTF-8 and
// characters that XML does not allow as U+FFFD.
std::string escape_xml(std::string_view text);

}  // namespace tnl
