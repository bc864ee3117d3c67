// tnl bench: how fast the machine does what the library is made of.
#include <fmt/format.h>

#include "tnl/bench_attention.h"
#include "tnl/bench_length.h"
#include "tnl/commands.h"

namespace tnl::command {
namespace {

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
  command->add_option("--pass", options->pass, "forward, backward or both")
      ->check(CLI::IsMember({"forward", "backward", "both"}))
      ->capture_default_str();
  command->add_option("--dtype", options->dtype, "storage of q, k, v, o: f32, bf16, f16 or f64")
      ->check(CLI::IsMember({"f32", "bf16", "f16", "f64"}))
      ->capture_default_str();
  command->add_flag("--reverse", options->reverse, "time runs from the last token to the first");
  command->add_option("--kernel", options->plan.kernel,
                      "force avx512, avx2, generic, or (f64) reference-recurrent or "
                      "reference-chunked; the default is the best of the device");
  command->add_option("--chunk", options->plan.chunk, "tokens of a chunk; 0 leaves it to the plan")
      ->capture_default_str();
  command
      ->add_option("--value-slice", options->plan.value_slice,
                   "columns of V a task owns; 0 leaves it to the plan")
      ->capture_default_str();
  command->add_option("--repeat", options->repeat, "timed runs of each pass, after one to warm up")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON in place of a table");
  options->device.add(*command);
  command->footer(
      "GFLOP/s count 4KV a token and head forward and 12KV backward, whatever the algorithm does. "
      "The peak is that of fp32 multiply-adds on registers alone, measured in the same run on as "
      "many threads. Times are the best and the median of the runs; GFLOP/s are of the best.\n\n"
      "Examples:\n"
      "  tnl bench attention\n"
      "  tnl bench attention --shapes 1x4096x16x128 --slopes half --threads 1\n"
      "  tnl bench attention --shapes 1x1024x8x256x128 --varlen 512,1,300,211 --dtype bf16\n"
      "  tnl bench attention --cpu-target avx2 --pass forward --json");
  command->callback([options] { bench_attention(*options); });
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
}

}  // namespace tnl::command
