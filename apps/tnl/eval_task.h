// The part of `tnl eval` that scores the answers to a task.
#pragma once

#include <cstdint>
#include <string>

#include "tnl/model_flags.h"

namespace tnl::command {

struct TaskFlags {
  std::string task;
  std::string format = "items";
  std::string examples;
  std::string samples;
  std::int64_t shots = 0;
  std::int64_t limit = 0;
  bool bos = false;

  void add(CLI::App& command);
};

// Throws Exit.
void run_task(const TaskFlags& flags, const ModelFlags& model, std::int64_t chunk, bool json);

}  // namespace tnl::command
