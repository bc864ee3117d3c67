#include "tnl/cli.h"

#include <csignal>

#include <fmt/format.h>

namespace tnl::command {
namespace {

volatile std::sig_atomic_t g_interrupts = 0;

void on_interrupt(int signal) {
  g_interrupts = g_interrupts + 1;
  if (g_interrupts > 1) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

int exit_status(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return kExitOk;
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotFound:
      return kExitBadInput;
    case StatusCode::kInterrupted:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

}  // namespace

void require(const Status& status) {
  if (!status.ok()) throw Exit{exit_status(status.code()), status.message()};
}

void DeviceFlags::add(CLI::App& command) {
  command
      .add_option(
          "--device", device,
          "where to run: cpu; cuda or cuda:N, a GPU; auto, the first GPU or else the CPU; or "
          "reference (fp64, slow)")
      ->capture_default_str();
  command
      .add_option("--precision", precision,
                  "of activations and matrix products on a GPU: bf16, or f32 without its matrix "
                  "units; sums are f32 in both")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  command.add_option("--threads", threads, "CPU threads; 0 takes one for each core")
      ->capture_default_str();
  command.add_option("--cpu-target", cpu_target,
                     "force avx512, avx2 or generic; the default is the best this machine has");
}

Device DeviceFlags::open() const {
  const DType compute = precision == "f32" ? DType::kF32 : DType::kBF16;
  Device opened = require(
      Device::open(device, {.threads = threads, .cpu_target = cpu_target, .gpu_compute = compute}));
  if (!opened.no_gpu_because().empty()) {
    fmt::print(stderr, "{}; running on the CPU\n", opened.no_gpu_because());
  }
  return opened;
}

void catch_interrupts() {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
}

bool interrupt_requested() {
  return g_interrupts != 0;
}

}  // namespace tnl::command
