// Finds the text that ends a generation in a stream, without ever letting part of it through.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tnl/status.h"

namespace tnl {

// The match that is complete first wins, and of those complete at the same byte the longest; the
// result does not depend on how the text is cut into pieces.
class StopStrings {
 public:
  // Each must be a non-empty string of well-formed UTF-8 of at most GenerateState::kMostHeld bytes;
  // none at all is fine.
  static Result<StopStrings> create(const std::vector<std::string>& strings);

  // Appends to `out` what can no longer be part of a match. True once one is complete: then all
  // before it has been appended, and nothing may be pushed any more.
  bool push(std::string_view text, std::string& out);
  // The text ends without a match: appends what was held back.
  void flush(std::string& out);
  // What is held back. Pushed to a new matcher of the same strings, it puts that into this state.
  const std::string& held() const { return held_; }

 private:
  // Knuth, Morris and Pratt's automaton: how much of the string the text so far ends with.
  struct Matcher {
    std::string string;
    std::vector<std::size_t> fallback;  // [i]: longest proper border of the first i bytes
    std::size_t matched = 0;

    explicit Matcher(std::string stop);
    void advance(char byte);
  };

  std::vector<Matcher> matchers_;
  std::string held_;
};

}  // namespace tnl
