// Comma-separated values as RFC 4180 describes them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tnl {

class CsvReader {
 public:
  explicit CsvReader(std::string_view text) : rest_(text) {}
  // False at the end. A quote that is not closed reaches to the end of the text.
  bool next(std::vector<std::string>& fields);
  // The line on which the last record began, from 1.
  std::size_t line() const { return record_line_; }

 private:
  std::string_view rest_;
  std::size_t line_ = 1, record_line_ = 1;
};

}  // namespace tnl
