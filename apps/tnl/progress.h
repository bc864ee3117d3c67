// A line that says how far the work is: rewritten in place on a terminal, plain lines now and then
// where stderr is a file or a pipe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace tnl::command {

class Progress {
 public:
  // "pack 12.3 MB of 45.6 MB (27%), 1.2 MB/s, 28s left". `unit` "B" is printed as kB, MB, GB;
  // any other follows the number as a word. `first`: done before the clock started (a resumed run).
  Progress(std::string label, std::string unit, std::int64_t first = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // total <= 0: unknown. `note` is put at the end of the line. Cheap enough to call often.
  void update(std::int64_t done, std::int64_t total, std::string_view note = {});
  // For who measures better: seconds_left < 0 is not printed; the rate is left to the note.
  void update(std::int64_t done, std::int64_t total, double seconds_left, std::string_view note);
  // A line of its own that stays.
  void print(std::string_view line);
  // Leaves the last state of the line standing. Also done by the destructor.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  bool due() const;
  void show(std::string line);
  void draw();
  std::string amount(std::int64_t done, std::int64_t total) const;

  std::string label_, unit_;
  std::int64_t first_;
  bool terminal_;
  Clock::time_point start_, last_;
  std::string line_;         // the newest
  bool never_shown_ = true;  // nothing was shown yet
  bool shown_ = true;        // line_ is on the screen
  bool open_ = false;        // a line without its newline is on the terminal
};

// "950", "12.3 k", "4.5 M" and so on; "12.3 MB" with a unit.
std::string format_amount(double amount, std::string_view unit = {});
// "12s", "3m05s", "1h02m", "2d03h".
std::string format_duration(double seconds);

}  // namespace tnl::command
