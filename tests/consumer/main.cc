// One head with decay 1/2 over three tokens: o = 1, 2 + 1/2, 4 + (2 + 1/2) / 2.
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <vector>

#include <tnl/attention.h>
#include <tnl/model.h>

int main() {
  auto device = tnl::Device::open("cpu", {.threads = 1});
  if (!device.ok()) return std::puts(device.status().message().c_str()), 1;

  float q[3] = {1, 1, 1}, k[3] = {1, 1, 1}, v[3] = {1, 2, 4}, o[3] = {};
  float state[1] = {}, log_decay[1] = {std::log(0.5f)};
  auto view = [](float* data) {
    return tnl::TensorView::contiguous(data, tnl::DType::kF32, {1, 3, 1, 1});
  };
  tnl::AttentionArgs args{view(q), view(k), view(v), view(o), log_decay};
  args.state_out = tnl::TensorView::contiguous(state, tnl::DType::kF32, {1, 1, 1, 1});

  auto plan = tnl::plan_attention(args, device.value().properties());
  if (!plan.ok()) return std::puts(plan.status().message().c_str()), 1;
  std::vector<std::max_align_t> workspace(plan.value().workspace_bytes / 16 + 8);
  void* start = workspace.data();
  std::size_t space = workspace.size() * sizeof(std::max_align_t);
  std::align(64, plan.value().workspace_bytes, start, space);
  tnl::Status status = tnl::attention_forward(args, plan.value(), start, device.value());
  if (!status.ok()) return std::puts(status.message().c_str()), 1;

  std::printf("o = %g %g %g, state = %g, presets: %zu\n", o[0], o[1], o[2], state[0],
              tnl::presets().size());
  const bool right = std::abs(o[2] - 5.25f) < 1e-5f && std::abs(state[0] - 5.25f) < 1e-5f;
  return right && !tnl::presets().empty() ? 0 : 1;
}
