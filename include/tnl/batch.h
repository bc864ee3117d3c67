// Texts generated several at a time: the parameters are read once for all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tnl/session.h"

namespace tnl {

struct BatchPrompt {
  std::vector<std::int32_t> tokens;  // at least one
  std::uint64_t seed = 0;            // in place of that of the options
};

struct BatchOptions {
  GenerateOptions generate = {};
  std::int64_t batch = 0;          // texts at a time, up to most_batch(); 0: that many
  std::int64_t prefill_chunk = 0;  // as Session::create()
};

struct BatchText {
  std::size_t prompt = 0;  // which it continues
  std::string text;
  std::vector<std::int32_t> tokens;  // sampled, without the eos that ended the text
  StopReason reason = StopReason::kMaxTokens;
};

// How many texts a device generates at a time at most: so many do not change each other's bits.
std::int64_t most_batch(const Device& device);

// Generates one text for every prompt. Each is, token for token, what generate() gives for its
// prompt and seed alone on the same device, whatever shares its batch. Where one ends, the next
// prompt takes its place. `done` gets each text when it ends, and returns false to end all.
// `keep_going`, where given, is asked before every token; false ends with kInterrupted. An error of
// one prompt (named by its place, counted from 0) ends all.
Status generate_batch(const Model& model, const Tokenizer& tokenizer,
                      std::span<const BatchPrompt> prompts, const BatchOptions& options,
                      const std::function<bool(BatchText)>& done,
                      const std::function<bool()>& keep_going = {});

}  // namespace tnl
