// What the subcommands share: exit statuses, the device options, interruption.
#pragma once

#include <fstream>
#include <string>

#include <CLI/CLI.hpp>

#include "tnl/device.h"
#include "tnl/status.h"

namespace tnl::command {

enum ExitStatus {
  kExitOk = 0,
  kExitFailed = 1,    // the work was done and the answer is no (verify), or the system refused
  kExitBadInput = 2,  // an argument or a file is not what it has to be
  kExitInterrupted = 130,
};

// Thrown by a subcommand's callback to leave with that status; main() prints the sentence.
struct Exit {
  int status = kExitOk;
  std::string message;
};

// Returns for an ok status, throws Exit otherwise.
void require(const Status& status);

template <class T>
T require(Result<T> result) {
  if (!result.ok()) require(result.status());
  return std::move(result).value();
}

struct DeviceFlags {
  std::string device = "cpu";
  int threads = 0;
  std::string cpu_target;
  std::string precision = "bf16";

  void add(CLI::App& command);
  Device open() const;  // throws Exit
};

// For options of type std::uint64_t, where a negative number would wrap around.
CLI::Validator seed_range();

// A text file, pipe or device, from its beginning; throws Exit.
std::ifstream open_text(const std::string& path);
// All that `stream`, called `name`, holds: `what`, of at most 256 MiB; throws Exit.
std::string read_text(std::istream& stream, const std::string& name, const char* what);

// A file that grows beyond its limit is then an error of the write, and one that shrinks while it
// is mapped ends the program with a sentence and kExitFailed.
void catch_file_signals();

// After the first call Ctrl-C and SIGTERM only set a flag; the second Ctrl-C ends the program.
void catch_interrupts();
bool interrupt_requested();

}  // namespace tnl::command
