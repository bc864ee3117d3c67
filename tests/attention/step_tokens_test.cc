// Steps of several tokens, drafts and pools of states against steps of one token, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attention/attention_case.h"
#include "attention/on_device.h"
#include "backend/backend.h"
#include "support/require.h"

namespace tnl::test {
namespace {

constexpr std::int64_t kSequences = 3, kHeads = 2, kTokens = 13, kSlots = 5;
const std::vector<std::int32_t> kOwners = {4, 0, 2};  // the slots of the sequences

// Texts of kSequences sequences, the outputs found so far and a pool of states.
class Decoding {
 public:
  Decoding(const Variant& variant, std::int64_t key_dim, std::int64_t value_dim)
      : variant_(variant),
        device_(open_device(variant)),
        input_(random_case(3, kSequences, kTokens, kHeads, key_dim, value_dim)),
        q_(variant.dtype, input_.key_shape(), variant.gap),
        k_(variant.dtype, input_.key_shape(), variant.gap),
        v_(variant.dtype, input_.value_shape(), variant.gap),
        o_(variant.dtype, input_.value_shape(), variant.gap),
        pool_(variant.dtype == DType::kF64 ? DType::kF64 : DType::kF32,
              {kSlots, kHeads, key_dim, value_dim}) {
    q_.set(input_.q);
    k_.set(input_.k);
    v_.set(input_.v);
    reset();
  }

  void reset() {
    pool_.set(random_case(4, kSlots, key_dim(), kHeads, 1, value_dim()).v);
    o_.set(std::vector<double>(input_.v.size(), std::numeric_limits<double>::quiet_NaN()));
  }

  struct Options {
    bool keep_state = true;
    bool in_graph = false;
    int draft = 0;  // tokens from draft_first on
    int draft_first = 0;
    std::vector<std::int32_t> accepted = {};
    std::vector<std::int32_t> device_slots = {};  // empty: kOwners, as state_slots
  };

  // Tokens first .. first + tokens of every sequence.
  void step(int first, int tokens, const Options& options) {
    OnDevice on(device_);
    AttentionStepArgs args;
    args.q = part(on(q_), first, tokens);
    args.k = part(on(k_), first, tokens);
    args.v = part(on(v_), first, tokens);
    args.o = part(on(o_), first, tokens);
    args.log_decay = input_.log_decay;
    args.scale = 0.5f;
    args.state = on(pool_);
    const std::vector<std::int64_t> slots(kOwners.begin(), kOwners.end());
    if (options.device_slots.empty()) {
      args.state_slots = slots;
    } else {
      args.device_slots = on.integers(options.device_slots);
    }
    if (options.draft > 0) {
      args.draft.k = part(on(k_.view()), options.draft_first, options.draft);
      args.draft.v = part(on(v_.view()), options.draft_first, options.draft);
      args.draft.accepted = on.integers(options.accepted);
    }
    args.keep_state = options.keep_state;
    const auto work = [&] { return attention_step(args, device_, variant_.kernel); };
    if (options.in_graph) {
      EXPECT_OK(device_.backend().time(work, {.graph = true}).status());
    } else {
      EXPECT_OK(work());
    }
    on.fetch();
  }
  void steps_of_one(int first, int end) {
    for (int t = first; t < end; ++t) step(t, 1, {});
  }

  std::vector<double> outputs() const { return o_.values(); }
  std::vector<double> states() const { return pool_.values(); }
  std::vector<double> outputs_of(int n, int first, int tokens) const {
    const std::int64_t row = kHeads * value_dim();
    const std::vector<double> all = outputs();
    const auto begin = all.begin() + (n * kTokens + first) * row;
    return {begin, begin + tokens * row};
  }
  std::vector<double> state_of(int n) const {
    const std::int64_t size = kHeads * key_dim() * value_dim();
    const std::vector<double> all = states();
    const auto begin = all.begin() + kOwners[n] * size;
    return {begin, begin + size};
  }

 private:
  std::int64_t key_dim() const { return input_.key_dim; }
  std::int64_t value_dim() const { return input_.value_dim; }

  // [N, tokens, H, width] of [N, kTokens, H, width].
  static TensorView part(TensorView view, int first, int tokens) {
    view.data =
        static_cast<std::byte*>(view.data) + first * view.stride[1] * dtype_size(view.dtype);
    view.shape[1] = tokens;
    return view;
  }

  Variant variant_;
  Device device_;
  AttentionCase input_;
  Tensor q_, k_, v_, o_, pool_;
};

// NaN stands for what was never written.
void expect_same(const std::vector<double>& a, const std::vector<double>& b, const char* what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) << what << " " << i;
  }
}

const std::pair<int, int> kWidths[] = {{64, 64}, {33, 70}, {128, 100}};

class StepTokens : public KernelTest {};

TEST_P(StepTokens, AreAsManySteps) {
  for (const auto& [K, V] : kWidths) {
    Decoding text(GetParam(), K, V);
    text.steps_of_one(0, kTokens);
    const std::vector<double> outputs = text.outputs(), states = text.states();
    EXPECT_FALSE(std::isnan(outputs.front()) || std::isnan(outputs.back()));
    for (const std::vector<int>& lengths :
         std::vector<std::vector<int>>{{8, 5}, {1, 2, 3, 7}, {4, 0, 6, 3}}) {
      text.reset();
      int first = 0;
      for (const int tokens : lengths) {
        text.step(first, tokens, {.in_graph = GetParam().on_gpu && tokens % 2 == 1});
        first += tokens;
      }
      expect_same(text.outputs(), outputs, "o");
      expect_same(text.states(), states, "state");
    }
  }
}

// A draft of five tokens is read, some of them are accepted, and the next six read from there.
TEST_P(StepTokens, DraftsEnterAsFarAsTheyAreAccepted) {
  constexpr int kDraft = 5, kNext = 6;
  const std::vector<std::int32_t> accepted = {0, 3, 5};
  for (const auto& [K, V] : kWidths) {
    Decoding text(GetParam(), K, V);
    const std::vector<double> before = text.states();
    text.step(0, kDraft, {.keep_state = false});
    expect_same(text.states(), before, "a draft's state");
    const std::vector<double> drafted = text.outputs();
    text.reset();
    text.steps_of_one(0, kDraft);
    expect_same(drafted, text.outputs(), "a draft's o");

    for (const bool keep : {false, true}) {
      Decoding::Options next{.keep_state = keep, .draft = kDraft, .accepted = accepted};
      text.reset();
      text.step(kDraft, kNext, next);
      std::vector<std::vector<double>> outputs, states;
      for (int n = 0; n < kSequences; ++n) {
        outputs.push_back(text.outputs_of(n, kDraft, kNext));
        states.push_back(text.state_of(n));
      }
      for (int n = 0; n < kSequences; ++n) {
        text.reset();
        text.steps_of_one(0, accepted[n]);
        if (!keep) expect_same(states[n], text.state_of(n), "state");
        text.steps_of_one(kDraft, kDraft + kNext);
        if (keep) expect_same(states[n], text.state_of(n), "state");
        expect_same(outputs[n], text.outputs_of(n, kDraft, kNext), "o");
      }
      // The end of a text: the last draft enters, nothing follows.
      text.reset();
      text.step(kDraft, 0, next);
      for (int n = 0; n < kSequences && !keep; ++n) {
        expect_same(states[n], text.state_of(n), "state");
      }
    }
  }
}

TEST_P(StepTokens, SlotsOfTheDeviceMayBeAbsent) {
  for (const int tokens : {1, 4}) {
    Decoding text(GetParam(), 64, 36);
    const std::vector<double> before = text.states();
    text.step(0, tokens, {});
    const std::vector<double> outputs = text.outputs(), states = text.states();
    text.reset();
    text.step(0, tokens, {.device_slots = kOwners});
    expect_same(text.outputs(), outputs, "o");
    expect_same(text.states(), states, "state");
    text.reset();
    text.step(0, tokens, {.device_slots = {-1, kOwners[1], -7}});
    EXPECT_TRUE(std::isnan(text.outputs_of(0, 0, 1).front()));
    EXPECT_TRUE(std::isnan(text.outputs_of(2, 0, 1).front()));
    const std::vector<double> one = text.outputs_of(1, 0, tokens), after = text.states();
    const std::vector<double> owned = text.state_of(1);
    text.reset();
    text.step(0, tokens, {});
    expect_same(one, text.outputs_of(1, 0, tokens), "o");
    expect_same(owned, text.state_of(1), "state");
    std::int64_t changed = 0;
    for (std::size_t i = 0; i < after.size(); ++i) changed += after[i] != before[i];
    EXPECT_LE(changed, static_cast<std::int64_t>(owned.size()));
    EXPECT_GT(changed, 0);
  }
}

// Steps are fp32 arithmetic in every storage type.
std::vector<Variant> step_kernels() {
  std::vector<Variant> variants = all_kernels();
  for (Variant variant : fast_kernels()) {
    variant.gap = 3;
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      variant.dtype = dtype;
      variants.push_back(variant);
    }
  }
  return variants;
}
std::vector<Variant> gpu_step_kernels() {
  std::vector<Variant> variants;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    variants.push_back({.dtype = dtype, .on_gpu = true});
    variants.push_back({.kernel = "general", .dtype = dtype, .on_gpu = true});
  }
  return variants;
}

INSTANTIATE_TEST_SUITE_P(Kernels, StepTokens, testing::ValuesIn(step_kernels()),
                         [](const auto& info) {
                           return name_of(info.param) + "_" +
                                  std::string(dtype_name(info.param.dtype));
                         });
INSTANTIATE_TEST_SUITE_P(Gpu, StepTokens, testing::ValuesIn(gpu_step_kernels()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace tnl::test
