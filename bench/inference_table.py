#!/usr/bin/env python3
"""Writes docs/benchmarks/inference_*.md from what `tnl bench inference --json` printed.

    inference_table.py RESULT.json... --date YYYY-MM-DD [--notes FILE] > docs/benchmarks/inference_h200.md
"""
import argparse
import json
import pathlib

from page import short_name


def thousands(value):
    return f"{value:,.0f}"


def model_line(result):
    return (f"## {result['preset']}, {result['parameters'] / 1e6:,.1f} M parameters\n\n"
            f"Reading memory: {thousands(result['read_bandwidth_gbs'])} GB/s, copying: "
            f"{thousands(result['copy_bandwidth_gbs'])} GB/s, a product of 8192 x 8192 x 8192 in "
            f"{result['precision']}: {thousands(result['matmul_gflops'] / 1e3)} TFLOP/s, all "
            "measured in the same run.\n")


def decode_table(result):
    lines = ["| texts at a time | ms a token | tokens/s, all texts | parameters, GB/s | of reading | "
             "with the states |", "|---|---|---|---|---|---|"]
    for row in result["batches"]:
        lines.append(f"| {row['batch']} | {1e3 * row['seconds_median']:.3f} | "
                     f"{thousands(row['tokens_per_second'])} | {thousands(row['gbs'])} | "
                     f"{100 * row['share_of_bandwidth']:.1f} % | "
                     f"{100 * row['share_with_states']:.1f} % |")
    return "\n".join(lines) + "\n"


def prefill_table(results):
    lines = ["| tokens | a pass | seconds | tokens/s | TFLOP/s | of the products | activations, MiB |",
             "|---|---|---|---|---|---|---|"]
    for result in results:
        row = result["prefill"]
        lines.append(f"| {thousands(row['tokens'])} | {thousands(row['chunk'])} | "
                     f"{row['seconds_median']:.3f} | {thousands(row['tokens_per_second'])} | "
                     f"{row['gflops'] / 1e3:.1f} | {100 * row['share_of_matmul']:.1f} % | "
                     f"{row['activation_bytes'] / 2**20:,.0f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=pathlib.Path)
    parser.add_argument("--date", required=True)
    parser.add_argument("--notes", type=pathlib.Path, help="Markdown to put behind the tables")
    options = parser.parse_args()
    results = [json.loads(path.read_text()) for path in options.results]
    print(f"# Inference on one {short_name(results[0]['device'])}\n")
    print(f"{results[0]['device']}, {options.date}. Random models in bf16, written by "
          "`bench/inference_table.py` from\n\n"
          "    tnl bench inference --device cuda --preset 1b --untied --no-lrpe --prompt 131072 "
          "--decode 300 --batch 1,2,4,8,16,32 --json\n\n"
          "A decoded token is a pass through the model and its logits in the host's memory; sampling "
          "is not part of it. Reading a prompt is\n"
          "Session::feed(): passes of one size, the state carried, so that memory does not depend on "
          "the prompt. Times are medians.\n")
    by_model = {}
    for result in results:
        by_model.setdefault((result["preset"], result["parameters"]), []).append(result)
    for rows in by_model.values():
        print(model_line(rows[0]))
        print(decode_table(rows[0]))
        print(prefill_table(rows))
    if options.notes:
        print(options.notes.read_text().rstrip())


if __name__ == "__main__":
    main()
