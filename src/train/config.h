// The fields of TrainConfig as a table: the JSON reader, the JSON writer and the flags of the
// command all walk it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tnl/train.h"

namespace tnl {

// visit(name, member, help) for every field, in the order of the declaration. `Config` is
// TrainConfig or const TrainConfig.
template <class Config, class Visitor>
void visit_train_config(Config& c, Visitor&& visit) {
  visit("data", c.data, "directory written by `tnl data pack`");
  visit("preset", c.preset,
        "shape of a new model: 6m, 44m, 385m, 1b, 7b or 15b, with the vocabulary of the data");
  visit("config", c.config, "config.json of a new model, in place of a preset");
  visit("init", c.init, "model directory to start from (fine-tuning), in place of a preset");
  visit("paper_slopes", c.paper_slopes,
        "new models: the paper's linear decay slopes in place of the released ones");
  visit("steps", c.steps, "updates of the parameters");
  visit("batch_tokens", c.batch_tokens, "tokens of one micro-batch");
  visit("sequence_length", c.sequence_length, "longest piece of a document in one sequence");
  visit("accumulate", c.accumulate, "micro-batches a step");
  visit("whole_documents", c.whole_documents,
        "sequences are whole documents of any length; a micro-batch takes documents until it has "
        "batch_tokens");
  visit("sequence_chunk", c.sequence_chunk,
        "tokens a pass, which memory depends on; longer sequences are trained exactly, chunk by "
        "chunk; 0: a micro-batch (with whole_documents: batch_tokens)");
  visit("recompute", c.recompute,
        "what the backward half of a pass computes again to save memory: none, selective or full");
  visit("state_memory", c.state_memory,
        "MiB for the states between chunks; what is more goes to a file in the run");
  visit("learning_rate", c.learning_rate, "highest learning rate, reached after the warm-up");
  visit("min_learning_rate", c.min_learning_rate,
        "learning rate of the last step; -1: a tenth of the highest");
  visit("warmup_steps", c.warmup_steps, "steps over which the learning rate rises from 0");
  visit("schedule", c.schedule, "after the warm-up: cosine, or wsd (constant, then linear)");
  visit("wsd_decay", c.wsd_decay, "share of the steps that cool down under wsd");
  visit("beta1", c.beta1, "AdamW: decay of the mean of the gradients");
  visit("beta2", c.beta2, "AdamW: decay of the mean of their squares");
  visit("epsilon", c.epsilon, "AdamW: added to the root of that mean");
  visit("weight_decay", c.weight_decay, "AdamW: of all but embeddings and LRPE frequencies");
  visit("clip", c.clip, "largest norm of all gradients together; 0: no clipping");
  visit("eval_every", c.eval_every, "steps between evaluations; 0: only at the end");
  visit("eval_tokens", c.eval_tokens, "tokens of the held-out split to evaluate; 0: all");
  visit("checkpoint_every", c.checkpoint_every, "steps between checkpoints; 0: only at the end");
  visit("keep_checkpoints", c.keep_checkpoints, "how many of the newest checkpoints stay");
  visit("seed", c.seed, "of the new parameters and of the order of the data");
}

// The entry of `known` that takes the fewest edits to become `name`.
std::string_view nearest_name(std::string_view name, const std::vector<std::string_view>& known);

}  // namespace tnl
