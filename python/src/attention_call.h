// One call of the operator over PyTorch's tensors: arguments are read, results made and the plan
// found here, so that it costs the host a few microseconds.
#pragma once

#include <cstdint>
#include <vector>

#include "torch_tensors.h"

namespace tnl::python {

// What a call has beside its tensors, held on the host; the backward pass takes the same.
struct Settings {
  std::vector<float> log_decay;
  double scale;
  std::vector<std::int64_t> cu_seqlens;
  bool reverse;
  // Of the call these came with: whether a mode rounds its arguments, and whether autograd follows.
  bool autocast = false, differentiate = false;

  Settings(nb::handle decay, nb::handle scale, nb::handle lengths, nb::handle reverse);
  bool packed() const { return !cu_seqlens.empty(); }
};

// The output and the final state, or None.
nb::tuple forward(const Settings& settings, nb::handle q, nb::handle k, nb::handle v,
                  nb::handle initial_state, nb::handle output_final_state);

struct GradientObjects {
  nb::object dq, dk, dv, d_state;  // d_state: None without an initial state
};
GradientObjects backward(const Settings& settings, nb::handle d_o, nb::handle d_final_state,
                         nb::handle q, nb::handle k, nb::handle v, nb::handle initial_state);

nb::object step(nb::handle q, nb::handle k, nb::handle v, nb::handle log_decay, nb::handle state,
                nb::handle scale, nb::handle state_slots, nb::handle draft_k, nb::handle draft_v,
                nb::handle accepted, nb::handle keep_state);

// Seconds of the library's own call, over `calls` of them with everything at hand: what a benchmark
// takes off to see what Python adds.
double bare_forward(const Settings& settings, nb::handle q, nb::handle k, nb::handle v, int calls);
double bare_backward(const Settings& settings, nb::handle d_o, nb::handle q, nb::handle k,
                     nb::handle v, int calls);

}  // namespace tnl::python
