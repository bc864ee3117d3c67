// Runs the command `tnl` as a user does.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/temporary_directory.h"

namespace tnl::test {

struct CommandOutcome {
  int status = -1;  // -1: ended by a signal
  std::string out, error;
};

// A `tnl` that runs, with its output going to files.
class Command {
 public:
  explicit Command(const std::vector<std::string>& arguments) {
    std::vector<char*> pointers = {const_cast<char*>(TNL_COMMAND)};
    for (const std::string& argument : arguments)
      pointers.push_back(const_cast<char*>(&argument[0]));
    pointers.push_back(nullptr);
    const std::string out = (files_.path() / "out").string();
    const std::string error = (files_.path() / "error").string();
    process_ = ::fork();
    if (process_ != 0) return;
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    ::dup2(::open(error.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    ::execv(TNL_COMMAND, pointers.data());
    ::_exit(127);
  }

  void send(int signal) const { ::kill(process_, signal); }

  CommandOutcome wait() const {
    int status = 0;
    ::waitpid(process_, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("out"), read("error")};
  }

 private:
  std::string read(const char* name) const {
    std::ifstream file(files_.path() / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TemporaryDirectory files_;
  pid_t process_ = -1;
};

inline CommandOutcome run_command(const std::vector<std::string>& arguments) {
  return Command(arguments).wait();
}

}  // namespace tnl::test
