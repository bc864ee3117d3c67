#include "train/svg.h"

#include <cstdint>

#include <fmt/format.h>

namespace tnl {
namespace {

// Length of the well-formed character at the start of `text` that XML 1.0 allows; 0: there is none.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  std::uint32_t code = first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3fu);
  }
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  const bool noncharacter = (code & 0xfffe) == 0xfffe;
  return code < kLeast[length] || code > 0x10ffff || surrogate || noncharacter ? 0 : length;
}

std::string stroke_attributes(const Svg::Stroke& stroke) {
  return fmt::format(
      R"(fill="none" stroke="{}" stroke-width="{:g}" stroke-opacity="{:g}"{} stroke-linejoin="round")",
      stroke.color, stroke.width, stroke.opacity,
      stroke.dashed ? R"( stroke-dasharray="5 4")" : "");
}

}  // namespace

std::string escape_xml(std::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const std::size_t length = character_length(text);
    const std::string_view character = text.substr(0, length);
    if (length == 0) {
      escaped += "\xef\xbf\xbd";
    } else if (character == "&") {
      escaped += "&amp;";
    } else if (character == "<") {
      escaped += "&lt;";
    } else if (character == ">") {
      escaped += "&gt;";
    } else if (character == "\"") {
      escaped += "&quot;";
    } else {
      escaped += character;
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return escaped;
}

Svg::Svg(double width, double height) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" "
      "height=\"{1:g}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n",
      width, height);
}

void Svg::line(SvgPoint from, SvgPoint to, const Stroke& stroke) {
  body_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n",
                       from.x, from.y, to.x, to.y, stroke_attributes(stroke));
}

void Svg::polyline(const std::vector<SvgPoint>& points, const Stroke& stroke) {
  if (points.size() < 2) return;
  body_ += "<polyline points=\"";
  for (const SvgPoint& point : points) body_ += fmt::format("{:.1f},{:.1f} ", point.x, point.y);
  body_.back() = '"';
  body_ += fmt::format(" {}/>\n", stroke_attributes(stroke));
}

void Svg::circle(SvgPoint center, double radius, std::string_view color) {
  body_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:g}\" fill=\"{}\"/>\n", center.x,
                       center.y, radius, color);
}

void Svg::text(SvgPoint position, std::string_view content, const TextStyle& style) {
  static constexpr std::string_view kAnchors[] = {"start", "middle", "end"};
  const std::string rotation = style.rotation == 0
                                   ? ""
                                   : fmt::format(" transform=\"rotate({:g} {:.1f} {:.1f})\"",
                                                 style.rotation, position.x, position.y);
  body_ += fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:g}\" fill=\"{}\" text-anchor=\"{}\"{}{}>{}"
      "</text>\n",
      position.x, position.y, style.size, style.color, kAnchors[static_cast<int>(style.anchor)],
      style.bold ? " font-weight=\"bold\"" : "", rotation, escape_xml(content));
}

void Svg::begin_clip(SvgPoint top_left, SvgPoint bottom_right) {
  body_ += fmt::format(
      "<clipPath id=\"area\"><rect x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"{:g}\"/>"
      "</clipPath>\n<g clip-path=\"url(#area)\">\n",
      top_left.x, top_left.y, bottom_right.x - top_left.x, bottom_right.y - top_left.y);
}

void Svg::end_clip() {
  body_ += "</g>\n";
}

std::string Svg::finish() && {
  body_ += "</svg>\n";
  return std::move(body_);
}

}  // namespace tnl
