#!/usr/bin/env python3
"""Measures what docs/benchmarks/cpu.md says about the CPU, and writes it.

    bench/cpu.py --python TORCH_VENV/bin/python --text TEXT --tokenizer FILE \\
                 --markdown docs/benchmarks/cpu.md --plot docs/benchmarks/constant_speed.svg

Ratios come from one run, the two sides of a comparison in turns. A part whose means are missing is
left out and named: PyTorch needs an environment (tools/install_torch_cpu.py), packing a text of some
megabytes and a BPE tokenizer. Takes four to eight minutes on two cores that do nothing else. What the
page says from "## Notes" on stays.
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from page import kept_notes

LENGTHS = (1024, 4096, 16384, 65536)
NOTES = "## Notes"
TOKENS = 65536


class Bench:
    def __init__(self, arguments):
        self.tnl = arguments.tnl
        self.arguments = arguments
        self.started = time.time()

    def say(self, what):
        print(f"{time.time() - self.started:6.0f} s  {what}", file=sys.stderr, flush=True)

    def json(self, *command):
        self.say("tnl bench " + " ".join(command))
        done = subprocess.run([self.tnl, "bench", *command, "--json"], check=True,
                              capture_output=True, text=True)
        return json.loads(done.stdout)


def processor():
    """Its name; those of rented machines tell nothing without family and model."""
    fields = {}
    for line in open("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    which = [f"{name} {fields[key]}" for name, key in (("family", "cpu family"), ("model", "model"))
             if key in fields]
    return fields.get("model name", "unknown") + (f" ({', '.join(which)})" if which else "")


def verdict(met):
    return "yes" if met else "no"


def operator_rows(bench, head_dim):
    heads = bench.arguments.heads
    shapes = ",".join(f"{TOKENS // t}x{t}x{heads}x{head_dim}" for t in LENGTHS)
    run = bench.json("attention", "--shapes", shapes, "--repeat", "7")
    rows, seconds = [], {}
    for result in run["results"]:
        length = int(result["shape"].split("x")[1])
        seconds.setdefault(result["pass"], []).append(result["seconds_median"])
        share = result["share_of_peak"] * result["seconds_best"] / result["seconds_median"]
        goal = 0.50 if result["pass"] == "forward" else 0.45
        rows.append((head_dim, length, result["pass"], result["seconds_median"], share, goal))
    spread = {name: max(values) / min(values) - 1 for name, values in seconds.items()}
    return run["peak_gflops"], rows, spread


def operator(bench, out, summary):
    out += ["## The operator", "",
            f"B x T = {TOKENS} tokens, {bench.arguments.heads} heads, f32, slopes of a middle "
            "layer. Counted are 4KV floating point operations a token and head forward, 12KV "
            "backward. Medians.", "",
            "| d | T | pass | ms | ns a token and head | of the fp32 peak |",
            "|---|---|---|---|---|---|"]
    lowest = {"forward": 1.0, "backward": 1.0}
    spreads, peaks = [], []
    for head_dim in (64, 128):
        peak, rows, spread = operator_rows(bench, head_dim)
        peaks.append(peak)
        spreads += [(f"d = {head_dim} {name}", value) for name, value in spread.items()]
        for d, length, name, seconds, share, _ in rows:
            lowest[name] = min(lowest[name], share)
            each = seconds / TOKENS / bench.arguments.heads * 1e9
            out.append(f"| {d} | {length} | {name} | {seconds * 1e3:.1f} | {each:.1f} | "
                       f"{100 * share:.1f} % |")
    out += ["", "Slowest over fastest length: " +
            ", ".join(f"{name} {100 * value:.1f} % more" for name, value in spreads) + ".", ""]
    worst = max(value for _, value in spreads)
    summary.append(("operator forward, lowest share of the fp32 peak", ">= 50 %",
                    f"{100 * lowest['forward']:.1f} %", lowest["forward"] >= 0.50))
    summary.append(("operator backward, lowest share of the fp32 peak", ">= 45 %",
                    f"{100 * lowest['backward']:.1f} %", lowest["backward"] >= 0.45))
    summary.append(("operator, time a token from 1K to 64K, largest over smallest", "<= 1.05",
                    f"{1 + worst:.3f}", worst <= 0.05))
    return max(peaks)


def few_heads(bench, out, summary):
    out += ["## Few heads", "", "One sequence, d = 128, forward, every core against one, in turns.",
            "", "| T | heads | one thread, ms | all, ms | ratio | plan of all |",
            "|---|---|---|---|---|---|"]
    lowest = 9.9
    for length in (16384, 65536):
        for heads in (2, 1):
            shape = f"1x{length}x{heads}x128"
            one, many, plan = [], [], {}
            for _ in range(2):
                for threads, times in (("1", one), ("0", many)):
                    run = bench.json("attention", "--shapes", shape, "--pass", "forward",
                                     "--repeat", "5", "--threads", threads)
                    times.append(run["results"][0]["seconds_median"])
                    plan = run["results"][0]["plan"]
            ratio = min(one) / min(many)
            if heads == 2:
                lowest = min(lowest, ratio)
            pieces = f"{plan['tasks']} tasks, {plan.get('segments', 1)} segments"
            out.append(f"| {length} | {heads} | {min(one) * 1e3:.1f} | {min(many) * 1e3:.1f} | "
                       f"{ratio:.2f} | {pieces} |")
    out.append("")
    summary.append((f"2 heads, {os.cpu_count()} cores over one, T >= 16K", ">= 1.7",
                    f"{lowest:.2f}", lowest >= 1.7))


class TorchPeer:
    def __init__(self, python, threads):
        script = pathlib.Path(__file__).parent / "torch_train.py"
        self.process = subprocess.Popen([python, str(script), "--threads", str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = json.loads(self.process.stdout.readline())

    def steps(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def training(bench, out, summary):
    out += ["## Training", "", "The preset 6m, fp32, 8 sequences of 512 tokens a step, AdamW; "
            "medians of all steps.", ""]
    python = bench.arguments.python
    peer = TorchPeer(python, os.cpu_count()) if python else None
    if peer:
        peer.steps(2)
    ours, theirs = [], []
    for _ in range(3):
        result = bench.json("train", "--lengths", "512", "--tokens", "4096", "--repeat", "5")
        ours.append(result["results"][0]["seconds_median"])
        gflops = result["results"][0]["gflops"]
        if peer:
            bench.say("PyTorch, 3 steps")
            theirs += peer.steps(3)
    seconds = statistics.median(ours)
    out += ["| | s a step | tokens/s |", "|---|---|---|",
            f"| tnl.cpp | {seconds:.3f} | {4096 / seconds:.0f} |"]
    if peer:
        peer.close()
        other = statistics.median(theirs)
        out.append(f"| PyTorch {peer.about['torch']}, eager, chunked (bench/torch_train.py) | "
                   f"{other:.3f} | {4096 / other:.0f} |")
        summary.append(("training 6m, tokens/s over PyTorch eager", ">= 1.5",
                        f"{other / seconds:.2f}", other / seconds >= 1.5))
    out += ["", f"That is {gflops:.0f} GFLOP/s, counting 6 a parameter and token and 16KV a head "
            "and layer for the operator.", ""]


def inference(bench, out, summary):
    result = bench.json("inference", "--decode", "48")
    decode, prefill = result["decode"], result["prefill"]
    out += ["## Inference", "",
            f"The preset {result['preset']} ({result['parameters'] / 1e6:.0f} M parameters, "
            "random), bf16 weights.", "",
            "| | tokens/s | rate | of the machine's |", "|---|---|---|---|",
            f"| decode, one text | {1 / decode['seconds_median']:.1f} | {decode['gbs']:.1f} GB/s "
            f"of weights | {100 * decode['share_of_bandwidth']:.1f} % of reading memory |",
            f"| prefill, {prefill['tokens']} tokens, {prefill['chunk']} a pass | "
            f"{prefill['tokens'] / prefill['seconds_median']:.0f} | {prefill['gflops']:.1f} "
            f"GFLOP/s | {100 * prefill['share_of_matmul']:.1f} % of fp32 products |", "",
            "The product it is held against is oneDNN's in fp32, 2048 x 2048 x 2048: activations "
            "are fp32 whatever the weights are stored in, so that a bf16 model loses nothing "
            "beyond the rounding of its weights.", ""]
    summary.append(("decode, share of the read bandwidth", ">= 80 %",
                    f"{100 * decode['share_of_bandwidth']:.1f} %",
                    decode["share_of_bandwidth"] >= 0.8))
    summary.append(("prefill, share of the matrix-product rate", ">= 60 %",
                    f"{100 * prefill['share_of_matmul']:.1f} %",
                    prefill["share_of_matmul"] >= 0.6))
    return result


def constant_speed(bench, out, summary):
    lengths = ["512", "1024", "2048", "4096", "8192", "16384", "32768"]
    there, back = (bench.json("train", "--preset", "6m", "--tokens", "32768", "--repeat", "2",
                              "--lengths", ",".join(order)) for order in (lengths, lengths[::-1]))
    for row, again in zip(there["results"], back["results"][::-1]):
        row["seconds_median"] = min(row["seconds_median"], again["seconds_median"])
    runs = {
        "training": there,
        "generation": bench.json("generate", "--preset", "6m", "--threads", "1", "--lengths",
                                 "100,300,1000,3000,10000,30000,100000")}
    out += ["## Constant speed", "", "The preset 6m: training steps of 32768 tokens in sequences "
            "of each length, the better of two runs; one text generated from its first to its "
            "100,000th token, the last 100 before each place timed five times, the places in "
            "turns.", "", "![time a token against length]"
            f"({bench.arguments.plot.name})", "", "| | length | microseconds a token |",
            "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, run in runs.items():
            times = {row["length"]: row.get("seconds_per_token") or
                     row["seconds_median"] / row["tokens"] for row in run["results"]}
            out += [f"| {name} | {length} | {1e6 * seconds:.1f} |"
                    for length, seconds in times.items()]
            ratio = max(times.values()) / min(times.values())
            summary.append((f"{name}, time a token from {min(times)} to {max(times)}, largest "
                            "over smallest", "constant", f"{ratio:.3f}", ratio <= 1.1))
            files.append(pathlib.Path(folder) / f"{name}.json")
            files[-1].write_text(json.dumps(run))
        subprocess.run([bench.tnl, "plot", "--output", bench.arguments.plot, "--title",
                        f"Time a token, 6M parameters, {os.cpu_count()} cores of {processor()}",
                        "--speed", *files], check=True, capture_output=True)
    out.append("")


def packing(bench, out, summary):
    text, tokenizers = bench.arguments.text, bench.arguments.tokenizer
    megabytes = text.stat().st_size / 1e6
    out += ["## Packing", "", f"`tnl data pack --threads 1`, {megabytes:.0f} MB of plain English "
            "text; best of three.", "", "| tokenizer | s | MB/s |", "|---|---|---|"]
    slowest = 1e9
    for tokenizer in tokenizers:
        best = 1e9
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                bench.say(f"tnl data pack -t {tokenizer.name}")
                start = time.perf_counter()
                subprocess.run([bench.tnl, "data", "pack", text, "-t", tokenizer, "-o",
                                f"{folder}/packed", "--threads", "1"], check=True,
                               capture_output=True)
                best = min(best, time.perf_counter() - start)
        slowest = min(slowest, megabytes / best)
        out.append(f"| {tokenizer.name} | {best:.2f} | {megabytes / best:.1f} |")
    out.append("")
    summary.append(("packing with a BPE tokenizer, MB/s on one core", ">= 20",
                    f"{slowest:.1f}", slowest >= 20))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tnl", default="build/tnl")
    parser.add_argument("--heads", type=int, default=4, help="of the operator's shapes")
    parser.add_argument("--python", help="a Python with PyTorch")
    parser.add_argument("--text", type=pathlib.Path, help="a plain text file to pack")
    parser.add_argument("--tokenizer", type=pathlib.Path, nargs="*", default=[])
    parser.add_argument("--markdown", type=pathlib.Path, required=True)
    parser.add_argument("--plot", type=pathlib.Path, help="the picture, beside --markdown")
    arguments = parser.parse_args()
    if not shutil.which(arguments.tnl):
        sys.exit(f"{arguments.tnl}: found no such command, expected tnl (make build)")
    bench = Bench(arguments)
    body, summary, left_out = [], [], []
    peak = operator(bench, body, summary)
    few_heads(bench, body, summary)
    training(bench, body, summary)
    if not arguments.python:
        left_out.append("PyTorch (no --python)")
    if arguments.plot:
        constant_speed(bench, body, summary)
    limits = inference(bench, body, summary)
    if arguments.text and arguments.tokenizer:
        packing(bench, body, summary)
    else:
        left_out.append("packing (no --text or --tokenizer)")
    head = ["# On the CPU", "",
            f"Written by `bench/cpu.py` on {datetime.date.today()}, {processor()}, "
            f"{os.cpu_count()} cores. Limits measured in the same run: fp32 multiply-adds on "
            f"registers {peak:.0f} GFLOP/s, reading memory {limits['read_bandwidth_gbs']:.1f} "
            f"GB/s, oneDNN's fp32 products {limits['matmul_gflops']:.0f} GFLOP/s.", "",
            "| what | target | measured | met |", "|---|---|---|---|"]
    head += [f"| {what} | {target} | {value} | {verdict(met)} |"
             for what, target, value, met in summary]
    if left_out:
        head += ["", "Left out: " + ", ".join(left_out) + "."]
    arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
    notes = kept_notes(arguments.markdown, NOTES)
    temporary = arguments.markdown.with_suffix(".tmp")
    temporary.write_text("\n".join(head + [""] + body) + ("\n" + notes if notes else ""))
    temporary.replace(arguments.markdown)
    bench.say(f"wrote {arguments.markdown}")


if __name__ == "__main__":
    main()
