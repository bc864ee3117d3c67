#include "attention/reference.h"

#include <algorithm>

#include "backend/decay.h"

namespace tnl::attention {
namespace {

// One sequence and one head; tokens counted in time order.
struct Lane {
  const AttentionProblem& problem;
  std::int64_t n, h;
  double log2 = log2_decay(problem.log_decay[h]);

  double* at(const AttentionOperand& operand, std::int64_t token) const {
    const std::int64_t within = problem.reverse ? problem.length(n) - 1 - token : token;
    return static_cast<double*>(operand.data) + n * operand.stride_batch +
           (problem.begin(n) + within) * operand.stride_token + h * operand.stride_head;
  }
  const double* q(std::int64_t token) const { return at(problem.q, token); }
  const double* k(std::int64_t token) const { return at(problem.k, token); }
  const double* v(std::int64_t token) const { return at(problem.v, token); }
  double* o(std::int64_t token) const { return at(problem.o, token); }

  static double* at(const AttentionStateOperand& state, std::int64_t n, std::int64_t h,
                    std::int64_t k, std::int64_t v) {
    return static_cast<double*>(state.data) + n * state.stride_sequence + h * state.stride_head +
           k * state.stride_k + v * state.stride_v;
  }
  double state_in(std::int64_t k, std::int64_t v) const {
    return problem.state_in.data == nullptr ? 0.0 : *at(problem.state_in, n, h, k, v);
  }
  void state_out(std::int64_t k, std::int64_t v, double value) const {
    if (problem.state_out.data == nullptr) return;
    const bool decays = problem.decay_state_out && problem.length(n) > 0;
    *at(problem.state_out, n, h, k, v) = decays ? power(1) * value : value;
  }
  double power(std::int64_t distance) const { return decay_power(log2, distance); }
};

// Column v of the state alone: S[:, v] <- λ S[:, v] + k_t v_t[v], o_t[v] = Σ_k q_t[k] S[k, v].
void recur_column(const Lane& lane, std::int64_t v, double* state) {
  const AttentionProblem& problem = lane.problem;
  const double decay = lane.power(1);
  for (std::int64_t k = 0; k < problem.key_dim; ++k) state[k] = lane.state_in(k, v);
  for (std::int64_t t = 0; t < problem.length(lane.n); ++t) {
    const double* q_row = lane.q(t);
    const double* k_row = lane.k(t);
    const double value = problem.value_scale * lane.v(t)[v];
    const double step = t == 0 && problem.state_enters_undecayed ? 1.0 : decay;
    double sum = 0;
    for (std::int64_t k = 0; k < problem.key_dim; ++k) {
      state[k] = step * state[k] + k_row[k] * value;
      sum += q_row[k] * state[k];
    }
    lane.o(t)[v] = problem.out_scale * sum;
  }
  for (std::int64_t k = 0; k < problem.key_dim; ++k) lane.state_out(k, v, state[k]);
}

struct Chunk {
  std::int64_t first, tokens;
  std::int64_t entry;  // exponent with which the state reaches the first token
};

double dot(const double* a, const double* b, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void chunk_outputs(const Lane& lane, const Chunk& chunk, const double* state) {
  const AttentionProblem& problem = lane.problem;
  for (std::int64_t i = 0; i < chunk.tokens; ++i) {
    const double* q_row = lane.q(chunk.first + i);
    double* o_row = lane.o(chunk.first + i);
    const double reach = lane.power(i + chunk.entry);
    std::fill(o_row, o_row + problem.value_dim, 0.0);
    for (std::int64_t k = 0; k < problem.key_dim; ++k) {
      const double factor = reach * q_row[k];
      for (std::int64_t v = 0; v < problem.value_dim; ++v) {
        o_row[v] += factor * state[k * problem.value_dim + v];
      }
    }
    for (std::int64_t j = 0; j <= i; ++j) {
      const double score = lane.power(i - j) * dot(q_row, lane.k(chunk.first + j), problem.key_dim);
      const double* v_row = lane.v(chunk.first + j);
      for (std::int64_t v = 0; v < problem.value_dim; ++v) {
        o_row[v] += score * (problem.value_scale * v_row[v]);
      }
    }
    for (std::int64_t v = 0; v < problem.value_dim; ++v) o_row[v] *= problem.out_scale;
  }
}

void chunk_state(const Lane& lane, const Chunk& chunk, double* state) {
  const AttentionProblem& problem = lane.problem;
  const double reach = lane.power(chunk.tokens - 1 + chunk.entry);
  for (std::int64_t s = 0; s < problem.key_dim * problem.value_dim; ++s) state[s] *= reach;
  for (std::int64_t j = 0; j < chunk.tokens; ++j) {
    const double decay = lane.power(chunk.tokens - 1 - j);
    const double* k_row = lane.k(chunk.first + j);
    const double* v_row = lane.v(chunk.first + j);
    for (std::int64_t k = 0; k < problem.key_dim; ++k) {
      const double factor = decay * k_row[k];
      for (std::int64_t v = 0; v < problem.value_dim; ++v) {
        state[k * problem.value_dim + v] += factor * (problem.value_scale * v_row[v]);
      }
    }
  }
}

template <class Body>
void for_each_lane(const AttentionProblem& problem, const Body& body) {
  for (std::int64_t n = 0; n < problem.sequences; ++n) {
    for (std::int64_t h = 0; h < problem.heads; ++h) body(Lane{problem, n, h});
  }
}

}  // namespace

std::size_t recurrent_workspace(std::int64_t key_dim) {
  return static_cast<std::size_t>(key_dim) * sizeof(double);
}

void run_recurrent(const AttentionProblem& problem, void* workspace) {
  double* state = static_cast<double*>(workspace);
  for_each_lane(problem, [&](const Lane& lane) {
    for (std::int64_t v = 0; v < problem.value_dim; ++v) recur_column(lane, v, state);
  });
}

std::size_t chunked_workspace(std::int64_t key_dim, std::int64_t value_dim) {
  return static_cast<std::size_t>(key_dim * value_dim) * sizeof(double);
}

void run_chunked(const AttentionProblem& problem, std::int64_t chunk, void* workspace) {
  double* state = static_cast<double*>(workspace);
  const std::int64_t columns = problem.value_dim;
  for_each_lane(problem, [&](const Lane& lane) {
    for (std::int64_t k = 0; k < problem.key_dim; ++k) {
      for (std::int64_t v = 0; v < columns; ++v) state[k * columns + v] = lane.state_in(k, v);
    }
    const std::int64_t tokens = problem.length(lane.n);
    for (std::int64_t first = 0; first < tokens; first += chunk) {
      const bool undecayed = first == 0 && problem.state_enters_undecayed;
      const Chunk piece{first, std::min(chunk, tokens - first), undecayed ? 0 : 1};
      chunk_outputs(lane, piece, state);
      chunk_state(lane, piece, state);
    }
    for (std::int64_t k = 0; k < problem.key_dim; ++k) {
      for (std::int64_t v = 0; v < columns; ++v) lane.state_out(k, v, state[k * columns + v]);
    }
  });
}

void run_step(const AttentionProblem& problem, const AttentionStep& step) {
  for_each_lane(problem, [&](const Lane& lane) {
    const std::int64_t slot = step.slot(lane.n);
    if (slot < 0) return;
    const double decay = lane.power(1);
    for (std::int64_t t = 0; t < problem.tokens; ++t) {
      std::fill_n(lane.o(t), problem.value_dim, 0.0);
    }
    for (std::int64_t k = 0; k < problem.key_dim; ++k) {
      for (std::int64_t v = 0; v < problem.value_dim; ++v) {
        const auto advance = [&](double& s, const double* k_row, const double* v_row) {
          s = decay * s + k_row[k] * (problem.value_scale * v_row[v]);
        };
        double& state = *Lane::at(problem.state_in, slot, lane.h, k, v);
        for (int t = 0; t < step.replayed(lane.n); ++t) {
          advance(state, lane.at(step.replay.k, t), lane.at(step.replay.v, t));
        }
        double s = state;
        for (std::int64_t t = 0; t < problem.tokens; ++t) {
          advance(s, lane.k(t), lane.v(t));
          lane.o(t)[v] += problem.out_scale * lane.q(t)[k] * s;
        }
        if (step.keep_state) state = s;
      }
    }
  });
}

}  // namespace tnl::attention
