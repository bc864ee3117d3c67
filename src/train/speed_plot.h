// Time a token against length as a picture: a flat line is what linear attention promises.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tnl {

struct SpeedCurve {
  struct Point {
    std::int64_t length = 0;  // tokens, at least 1
    double seconds = 0;       // a token
  };
  std::string name;
  std::vector<Point> points;
};

// An SVG document: microseconds a token from 0 up, over length on a logarithmic axis. Values that
// are not finite and positive are left out.
std::string speed_plot(const std::vector<SpeedCurve>& curves, const std::string& title);

}  // namespace tnl
