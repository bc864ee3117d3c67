#include "infer/stop_strings.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "infer/utf8_stream.h"
#include "tnl/session.h"

namespace tnl {
namespace {

bool well_formed(std::string_view text) {
  Utf8Stream stream;
  std::string decoded;
  stream.push(text, decoded);
  stream.flush(decoded);
  return decoded == text;
}

}  // namespace

Result<StopStrings> StopStrings::create(const std::vector<std::string>& strings) {
  StopStrings stop;
  for (std::size_t i = 0; i < strings.size(); ++i) {
    if (strings[i].empty()) {
      return invalid_argument(
          fmt::format("stop string {} is empty, expected at least one character", i + 1));
    }
    if (strings[i].size() > GenerateState::kMostHeld) {
      return invalid_argument(fmt::format("stop string {} has {} bytes, expected at most {}", i + 1,
                                          strings[i].size(), GenerateState::kMostHeld));
    }
    if (!well_formed(strings[i])) {
      return invalid_argument(
          fmt::format("stop string {} is not well-formed UTF-8: it could never match", i + 1));
    }
    stop.matchers_.emplace_back(strings[i]);
  }
  return stop;
}

StopStrings::Matcher::Matcher(std::string stop)
    : string(std::move(stop)), fallback(string.size() + 1, 0) {
  std::size_t border = 0;
  for (std::size_t i = 1; i < string.size(); ++i) {
    while (border > 0 && string[i] != string[border]) border = fallback[border];
    if (string[i] == string[border]) ++border;
    fallback[i + 1] = border;
  }
}

void StopStrings::Matcher::advance(char byte) {
  while (matched > 0 && string[matched] != byte) matched = fallback[matched];
  if (string[matched] == byte) ++matched;
}

bool StopStrings::push(std::string_view text, std::string& out) {
  std::size_t partial = 0;  // longest tail of held_ that begins a stop string
  for (const char byte : text) {
    held_ += byte;
    partial = 0;
    std::size_t complete = 0;
    for (Matcher& matcher : matchers_) {
      matcher.advance(byte);
      partial = std::max(partial, matcher.matched);
      if (matcher.matched == matcher.string.size()) complete = std::max(complete, matcher.matched);
    }
    if (complete > 0) {
      out.append(held_, 0, held_.size() - complete);
      held_.clear();
      return true;
    }
  }
  if (text.empty()) return false;
  out.append(held_, 0, held_.size() - partial);
  held_.erase(0, held_.size() - partial);
  return false;
}

void StopStrings::flush(std::string& out) {
  out += held_;
  held_.clear();
}

}  // namespace tnl
