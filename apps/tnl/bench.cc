// tnl bench: how fast the machine does what the library is made of.
#include <fmt/format.h>

#include "tnl/bench_attention.h"
#include "tnl/bench_length.h"
#include "tnl/bench_model.h"
#include "tnl/commands.h"

namespace tnl::command {
namespace {

void add_gpu_options(CLI::App& command, AttentionBenchOptions& options) {
  const std::string group = "On a GPU";
  command
      .add_option("--segments", options.plan.segments,
                  "force how long sequences are cut: plain, warm or carry")
      ->check(CLI::IsMember({"plain", "warm", "carry"}))
      ->group(group);
  command
      .add_option(
          "--runs", options.plan.runs,
          "force the number of pieces, all heads together; on the CPU of the longest sequence")
      ->group(group);
  command
      .add_option("--operands", options.plan.precision,
                  "force how operands of matrix products are kept: fast, state or precise")
      ->check(CLI::IsMember({"fast", "state", "precise"}))
      ->group(group);
  command
      .add_flag_callback(
          "--precise", [&options] { options.plan.precision = "precise"; }, "--operands precise")
      ->group(group);
  command
      .add_flag("--batch-invariant", options.plan.batch_invariant,
                "cut a sequence by nothing but itself")
      ->group(group);
  command.add_flag("--states", options.states, "with initial and final states")->group(group);
  command
      .add_flag_callback(
          "--backward", [&options] { options.pass = "backward"; }, "--pass backward")
      ->group(group);
  command
      .add_flag_callback(
          "--step", [&options] { options.pass = "step"; }, "--pass step")
      ->group(group);
  command.add_flag("--graph", options.graph, "replay a recorded graph: no host work in between")
      ->group(group);
  command
      .add_flag_callback(
          "--no-errors", [&options] { options.errors = false; }, "leave out the errors")
      ->group(group);
}

void add_attention(CLI::App& bench) {
  const auto options = std::make_shared<AttentionBenchOptions>();
  CLI::App* command = bench.add_subcommand(
      "attention", "time the attention operator and hold it against the machine's fp32 peak");
  command
      ->add_option("--shapes", options->shapes,
                   "batch, tokens, heads, key width and, where it differs, value width; several "
                   "shapes are separated by commas")
      ->delimiter(',')
      ->type_name("BxTxHxK[xV],...")
      ->capture_default_str();
  command
      ->add_option("--slopes", options->slopes,
                   "decay slopes: of the first layer of a model (first), of its middle layer "
                   "(half), none (zero), or numbers >= 0, one for each head or one for all")
      ->type_name("first|half|zero|S1,S2,...")
      ->capture_default_str();
  command
      ->add_option("--varlen", options->varlen,
                   "pack sequences of these lengths, or, without a list, B sequences of lengths "
                   "between T/2 and 3T/2, B x T tokens in all")
      ->type_name("[L1,L2,...]")
      ->expected(0, 1)
      ->default_str("drawn")
      ->take_last();
  command
      ->add_option(
          "--pass", options->pass,
          "forward, backward or both; on a GPU also step (decoding, BxTxHxK with T up to 8)")
      ->check(CLI::IsMember({"forward", "backward", "both", "step"}))
      ->capture_default_str();
  command
      ->add_option("--dtype", options->dtype,
                   "storage of q, k, v, o: f32, bf16, f16 or f64; the default is bf16 on a GPU, "
                   "else f32")
      ->check(CLI::IsMember({"f32", "bf16", "f16", "f64"}));
  command->add_flag("--reverse", options->reverse, "time runs from the last token to the first");
  command->add_option("--kernel", options->plan.kernel,
                      "force avx512, avx2, generic, or (f64) reference-recurrent or "
                      "reference-chunked, on a GPU sweep64, sweep128, sweep256, .. or general; the "
                      "default is the best of the device");
  command->add_option("--chunk", options->plan.chunk, "tokens of a chunk; 0 leaves it to the plan")
      ->capture_default_str();
  command
      ->add_option("--value-slice", options->plan.value_slice,
                   "columns of V a task owns; 0 leaves it to the plan")
      ->capture_default_str();
  add_gpu_options(*command, *options);
  command->add_option("--repeat", options->repeat, "timed runs of each pass, after one to warm up")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON in place of a table");
  options->device.add(*command);
  command->footer(
      "GFLOP/s count 4KV a token and head forward and 12KV backward, whatever the algorithm does. "
      "The peak is that of fp32 multiply-adds on registers alone, measured in the same run on as "
      "many threads. Times are the best and the median of the runs; GFLOP/s are of the best.\n"
      "On a GPU the floor is every input read once and every output written once at the bandwidth "
      "of a copy measured in the same run; its cache is emptied by reading before each run.\n\n"
      "Examples:\n"
      "  tnl bench attention\n"
      "  tnl bench attention --shapes 1x4096x16x128 --slopes half --threads 1\n"
      "  tnl bench attention --shapes 1x1024x8x256x128 --varlen 512,1,300,211 --dtype bf16\n"
      "  tnl bench attention --cpu-target avx2 --pass forward --json\n"
      "  tnl bench attention --device cuda --shapes 4x8192x16x128,1x131072x16x128 --slopes first\n"
      "  tnl bench attention --device cuda --step --graph --shapes 64x1x16x128");
  command->callback([options] { bench_attention(*options); });
}

void add_train_bench(CLI::App& bench) {
  const auto options = std::make_shared<TrainBenchOptions>();
  CLI::App* command =
      bench.add_subcommand("train", "time training steps of a random model on random tokens");
  options->shape.add(*command);
  command->add_option("--lengths", options->lengths, "tokens of a sequence, one row for each")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31))
      ->type_name("T1,T2,...")
      ->capture_default_str();
  command
      ->add_option("--tokens", options->tokens,
                   "tokens of a step, in as many sequences as fit, at least one")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31))
      ->capture_default_str();
  command
      ->add_option(
          "--sequence-chunk", options->sequence_chunk,
          "tokens of a pass: steps of more take several, and sequences of more are trained "
          "exactly, chunk by chunk; 0: a step is one pass")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 31))
      ->capture_default_str();
  command
      ->add_option("--state-memory", options->state_memory,
                   "MiB for the states between chunks; what is more goes to a file in the current "
                   "directory")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30))
      ->capture_default_str();
  command->add_option("--repeat", options->repeat, "timed steps")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--warm-up", options->warm_up, "steps before the timed ones")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  command->add_option("--recompute", options->recompute, "as for tnl train")
      ->check(CLI::IsMember({"none", "selective", "full"}))
      ->capture_default_str();
  command->add_flag("--no-replay", options->no_replay,
                    "on a GPU launch every kernel by itself, not as a CUDA graph of the pass");
  command->add_flag("--json", options->json, "print JSON in place of a table");
  options->device.add(*command);
  command->footer(
      "A step is forward, backward and AdamW. Rates are of the median step; GFLOP/s count "
      "6 a parameter\nthat multiplies and 16KV a head and layer, for each token.\n\nExamples:\n"
      "  tnl bench train\n"
      "  tnl bench train --preset 44m --lengths 512,4096,32768 --tokens 32768\n"
      "  tnl bench train --device cuda --preset 385m --untied --no-lrpe --tokens 32768 --lengths "
      "1024,32768\n"
      "  tnl bench train --device cuda --preset 385m --untied --no-lrpe --tokens 32768 --lengths "
      "32768,4194304\n      --sequence-chunk 32768 --state-memory 4096 --repeat 1");
  command->callback([options] { bench_train(*options); });
}

void add_inference_bench(CLI::App& bench) {
  const auto options = std::make_shared<InferenceBenchOptions>();
  CLI::App* command = bench.add_subcommand(
      "inference", "time reading a prompt and generating, against the machine's limits");
  options->shape.add(*command);
  command->add_option("--dtype", options->dtype, "storage of the parameters")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->capture_default_str();
  command->add_option("--prompt", options->prompt, "tokens of the prompt")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31))
      ->capture_default_str();
  command
      ->add_option("--prefill-chunk", options->prefill_chunk,
                   "tokens read in one pass; 0 takes what tnl generate takes on the device")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--decode", options->decode, "timed tokens of a text, one after the other")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command
      ->add_option("--batch", options->batches, "texts that generate at the same time, a row each")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1024}))
      ->type_name("N1,N2,...")
      ->capture_default_str();
  command->add_option("--repeat", options->repeat, "timed prompts, after one to warm up")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON in place of a table");
  options->device.add(*command);
  command->footer(
      "Decoding is held against the time of reading the parameters, and with the states theirs, at "
      "the bandwidth of\nreading memory, reading a prompt against a matrix product (fp32 on the "
      "CPU, "
      "the precision of the run\non a GPU), both measured in the same run. A decoded token "
      "includes its logits on the host. Rates are\nof the median."
      "\n\nExamples:\n"
      "  tnl bench inference --preset 1b --prompt 1024\n"
      "  tnl bench inference --device cuda --preset 1b --untied --no-lrpe --prompt 131072 --batch "
      "1,8,32");
  command->callback([options] { bench_inference(*options); });
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "measure speed");
  bench->require_subcommand(1);
  bench->footer("Example:\n  tnl bench attention --shapes 2x2048x8x64,1x2048x8x128");
  add_attention(*bench);
  add_memory_bench(*bench);
  add_generate_bench(*bench);
  add_train_bench(*bench);
  add_inference_bench(*bench);
}

}  // namespace tnl::command
