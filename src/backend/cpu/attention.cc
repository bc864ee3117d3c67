#include "backend/cpu/attention.h"

namespace tnl::cpu {

Status attention(const AttentionProblem&, ThreadPool&, const std::string&, std::int64_t,
                 std::int64_t, void*) {
  return internal_error("attention is not there yet");
}
Status attention_step(const AttentionProblem&, ThreadPool&, std::span<const std::int64_t>,
                      const std::string&) {
  return internal_error("attention is not there yet");
}

}  // namespace tnl::cpu
