#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "train/plot.h"
#include "train/speed_plot.h"
#include "train/svg.h"

namespace tnl {
namespace {

// A small reader of XML: tags that nest, attributes in quotes, no stray markup. Returns what is
// wrong, or "".
std::string xml_problem(std::string_view xml) {
  std::vector<std::string> open;
  bool rooted = false;
  while (!xml.empty()) {
    const std::size_t tag = xml.find('<');
    const std::string_view text = xml.substr(0, tag);
    for (std::size_t i = 0; (i = text.find('&', i)) != text.npos; ++i) {
      const std::string_view entity = text.substr(i, text.find(';', i) - i);
      if (entity != "&amp" && entity != "&lt" && entity != "&gt" && entity != "&quot") {
        return "entity " + std::string(entity);
      }
    }
    if (text.find('>') != text.npos) return "stray >";
    if (tag == xml.npos) break;
    xml.remove_prefix(tag + 1);
    const std::size_t end = xml.find('>');
    if (end == xml.npos) return "tag without end";
    std::string_view body = xml.substr(0, end);
    xml.remove_prefix(end + 1);
    if (body.starts_with('/')) {
      if (open.empty() || open.back() != body.substr(1)) return "closes " + std::string(body);
      open.pop_back();
      continue;
    }
    if (open.empty() && rooted) return "two roots";
    rooted = true;
    const bool empty = body.ends_with('/');
    if (empty) body.remove_suffix(1);
    if (std::count(body.begin(), body.end(), '"') % 2 != 0) return "quotes";
    if (body.find('<') != body.npos) return "< in a tag";
    if (!empty) open.emplace_back(body.substr(0, body.find(' ')));
  }
  if (!open.empty()) return "open " + open.back();
  return rooted ? "" : "no root";
}

MetricsLine line(std::int64_t step, double loss, double held_out = -1, double factor = 0.5) {
  MetricsLine line;
  line.step = step;
  line.loss = loss;
  line.held_out_loss = held_out;
  line.held_out_bits_per_byte = held_out < 0 ? -1 : held_out * factor;
  return line;
}

PlotRun long_run(std::int64_t steps) {
  PlotRun run{"run", {}};
  for (std::int64_t step = 1; step <= steps; ++step) {
    const double loss = 3 + 5 * std::exp(-static_cast<double>(step) / 50) + 0.1 * (step % 7);
    run.lines.push_back(line(step, loss, step % 100 == 0 ? loss : -1));
  }
  return run;
}

TEST(Plot, IsWellFormedForRunsOfAllLengths) {
  for (const std::int64_t steps : {0, 1, 2, 3, 10, 99, 101, 5000}) {
    const std::string svg = loss_plot({long_run(steps)});
    EXPECT_EQ(xml_problem(svg), "") << steps;
    EXPECT_EQ(svg.find("nan"), std::string::npos) << steps;
    EXPECT_EQ(svg.find("inf"), std::string::npos) << steps;
    EXPECT_EQ(svg.find("no finite loss") != std::string::npos, steps == 0) << steps;
  }
  EXPECT_EQ(xml_problem(loss_plot({})), "");
}

TEST(Plot, DoesNotGrowWithTheRun) {
  EXPECT_LT(loss_plot({long_run(100000)}).size(), 80000u);
}

TEST(Plot, EscapesNames) {
  PlotRun run = long_run(20);
  run.name = "a<b>&\"c\" \x01 \xff ü";
  const std::string svg = loss_plot({run});
  EXPECT_EQ(xml_problem(svg), "");
  EXPECT_NE(svg.find("a&lt;b&gt;&amp;&quot;c&quot; \xef\xbf\xbd \xef\xbf\xbd ü"),
            std::string::npos);
}

TEST(Plot, LeavesOutWhatIsNotFinite) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  const std::string svg = loss_plot({{"x",
                                      {line(1, nan), line(2, inf, nan), line(3, 4.0, 4.0),
                                       line(4, 1e300), line(5, 3.5, inf), line(6, -inf)}}});
  EXPECT_EQ(xml_problem(svg), "");
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_NE(loss_plot({{"x", {line(1, nan)}}}).find("no finite loss"), std::string::npos);
}

TEST(Plot, ShowsBitsPerByteWhereAllRunsAgree) {
  const PlotRun one{"one", {line(1, 4, 4, 0.5), line(2, 3, 3, 0.5)}};
  const PlotRun other{"other", {line(1, 4, 4, 0.8), line(2, 3, 3, 0.8)}};
  const std::string axis = ">bits per byte<";
  EXPECT_NE(loss_plot({one}).find(axis), std::string::npos);
  EXPECT_EQ(loss_plot({one, other}).find(axis), std::string::npos);
  EXPECT_NE(loss_plot({one, other}).find("other: held-out, last 3.000 (2.400 bits per byte)"),
            std::string::npos);
}

TEST(Plot, PutsAKnownCurveWhereItBelongs) {
  // Two points at loss 2 and 4: range 2 - 0.1 to 4 + 0.1, area 76..884 by 56..480.
  const std::string svg = loss_plot({{"x", {line(1, 4), line(2, 2)}}});
  EXPECT_NE(svg.find("<polyline points=\"480.0,75.3 884.0,460.7\""), std::string::npos) << svg;
}

TEST(Plot, GoesOverTokensAndSeconds) {
  // Three steps of 100, 300 and 400 tokens, at 100, 100 and 400 tokens a second.
  PlotRun run{"x", {line(1, 4), line(2, 3), line(3, 2)}};
  const std::int64_t tokens[] = {100, 300, 400};
  const double speed[] = {100, 100, 400};
  for (int i = 0; i < 3; ++i) {
    run.lines[i].tokens = tokens[i];
    run.lines[i].tokens_per_second = speed[i];
  }
  const std::string over_tokens = loss_plot({run}, {.over = PlotAxis::kTokens});
  EXPECT_NE(over_tokens.find("\"177.0,75.3 480.0,268.0 884.0,460.7\""), std::string::npos);
  EXPECT_NE(over_tokens.find(">tokens<"), std::string::npos);
  const std::string over_seconds = loss_plot({run}, {.over = PlotAxis::kSeconds});
  EXPECT_NE(over_seconds.find("\"237.6,75.3 722.4,268.0 884.0,460.7\""), std::string::npos);
  EXPECT_NE(over_seconds.find(">seconds of training<"), std::string::npos);
}

TEST(Plot, LeavesOutTheTrainingLoss) {
  const std::string svg =
      loss_plot({{"x", {line(1, 9, 4), line(2, 8, 2)}}}, {.held_out_only = true, .title = "A & B"});
  EXPECT_EQ(svg.find("training"), std::string::npos);
  EXPECT_NE(svg.find("\"480.0,75.3 884.0,460.7\""), std::string::npos) << svg;
  EXPECT_NE(svg.find(">A &amp; B<"), std::string::npos);
}

TEST(EscapeXml, ReplacesWhatXmlDoesNotAllow) {
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(escape_xml("plain"), "plain");
  EXPECT_EQ(escape_xml(std::string_view("\0", 1)), bad);
  EXPECT_EQ(escape_xml("\xc0\xaf"), bad + bad);                   // overlong
  EXPECT_EQ(escape_xml("\xed\xa0\x80"), bad + bad + bad);         // surrogate
  EXPECT_EQ(escape_xml("\xe2\x82"), bad + bad);                   // cut short
  EXPECT_EQ(escape_xml("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");  // U+1F600
  EXPECT_EQ(escape_xml("\xf4\x90\x80\x80"), bad + bad + bad + bad);
}

TEST(SpeedPlot, ConstantSpeedIsALevelLine) {
  const std::string svg =
      speed_plot({{"training", {{100, 1e-4}, {1000, 1e-4}, {10000, 1e-4}}}}, "a <title>");
  EXPECT_EQ(xml_problem(svg), "");
  EXPECT_NE(svg.find("a &lt;title&gt;"), svg.npos);
  EXPECT_NE(svg.find(">training<"), svg.npos);
  const std::size_t begin = svg.find("points=\"") + 8;
  const std::string points = svg.substr(begin, svg.find('"', begin) - begin);
  double x[3], y[3];
  ASSERT_EQ(
      std::sscanf(points.c_str(), "%lf,%lf %lf,%lf %lf,%lf", x, y, x + 1, y + 1, x + 2, y + 2), 6)
      << points;
  EXPECT_EQ(y[0], y[1]);
  EXPECT_EQ(y[0], y[2]);
  EXPECT_NEAR(x[1] - x[0], x[2] - x[1], 0.2);  // a power of ten each
}

// Where a text of the picture stands.
std::pair<double, double> position_of(const std::string& svg, const std::string& text) {
  const std::size_t begin = svg.rfind("<text", svg.find(">" + text + "<"));
  double x = 0, y = 0;
  const int found = std::sscanf(svg.c_str() + begin, "<text x=\"%lf\" y=\"%lf\"", &x, &y);
  EXPECT_EQ(found, 2) << svg.substr(begin, 60);
  return {x, y};
}

TEST(SpeedPlot, LinesGoFromLeftToRightWhateverTheirOrder) {
  const std::vector<SpeedCurve::Point> points = {{1000, 1e-4}, {100, 2e-4}, {10000, 3e-4}};
  std::vector<SpeedCurve::Point> sorted = {points[1], points[0], points[2]};
  const auto line = [](const std::string& svg) {
    const std::size_t begin = svg.find("points=\"");
    return svg.substr(begin, svg.find('"', begin + 8) - begin);
  };
  EXPECT_EQ(line(speed_plot({{"a", points}}, "")), line(speed_plot({{"a", sorted}}, "")));
}

TEST(SpeedPlot, NamesKeepOutOfEachOthersWay) {
  const std::vector<SpeedCurve::Point> points = {{100, 1e-4}, {1000, 1e-4}, {10000, 1e-4}};
  const std::string svg =
      speed_plot({{"one curve", points}, {"another", points}, {"third", points}}, "");
  const auto one = position_of(svg, "one curve"), another = position_of(svg, "another"),
             third = position_of(svg, "third");
  EXPECT_GE(std::abs(one.second - another.second), 19);
  EXPECT_TRUE(std::abs(third.second - one.second) >= 19 || std::abs(third.first - one.first) > 60);
  EXPECT_TRUE(std::abs(third.second - another.second) >= 19 ||
              std::abs(third.first - another.first) > 60);
}

TEST(SpeedPlot, LeavesOutWhatIsNoTime) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& curves : {std::vector<SpeedCurve>{}, {{"x", {{5, nan}, {0, 1.0}, {7, 0.0}}}}}) {
    const std::string svg = speed_plot(curves, "none");
    EXPECT_EQ(xml_problem(svg), "");
    EXPECT_EQ(svg.find("nan"), svg.npos);
    EXPECT_EQ(svg.find("circle"), svg.npos);
  }
}

}  // namespace
}  // namespace tnl
