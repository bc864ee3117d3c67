#!/usr/bin/env python3
"""Measures training on one GPU with `tnl bench train` and writes docs/benchmarks/training_h100.md and
its picture, with the same-size PyTorch models beside it where a script that trains them is given.

    bench/train_table.py --out docs/benchmarks/training_h100.md [--plot docs/benchmarks/gpu_speed.svg]
        [--tnl build/tnl]
        [--peer-script FILE] [--peer-python PYTHON]    prints lines "tnl ... T1024: 116500 tok/s ...";
                         --size, --tokens, --lengths and --kinds are given to it, the last two as here
        [--json FILE]    keep what was measured; --from FILE writes the page from it again
        [--parts NAME,...]    some of the parts, in this order: speed (0.4B), 1b, chunks, peers,
                         lengths, memory, 1b-peers, small
        [--seconds N]    start no further command after so many

The page is written anew after every command, so that a run that is cut short keeps what it has; what
the page says from "## What bounds it" on stays.
"""

import argparse
import datetime
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

SMALL, LARGE = "0.4B", "1B"
MODELS = {SMALL: ["--preset", "385m", "--untied", "--no-lrpe"],
          LARGE: ["--preset", "1b", "--untied", "--no-lrpe"]}
TOKENS = {SMALL: 32768, LARGE: 16384}
NOTES = "## What bounds it"
CHUNK = 32768
LONG = 4194304
SHORT_TO_LONG = [1024, 4096, 16384, 65536, 262144, 524288]
# Steps of many seconds: the first row warms up and is left out.
ONCE = ["--repeat", "1", "--warm-up", "0"]

# name -> (model, flags of tnl bench train)
RUNS = {
    "none": (SMALL, ["--tokens", "32768", "--lengths", "1024,4096,16384,32768"]),
    "1b": (LARGE, ["--tokens", "16384", "--lengths", "1024,4096,16384"]),
    "chunks": (SMALL, ["--tokens", str(CHUNK), "--lengths", f"{CHUNK},{CHUNK},{LONG}",
                       "--sequence-chunk", str(CHUNK), "--state-memory", "4096", *ONCE]),
    "lengths": (SMALL, ["--tokens", "524288", "--recompute", "full", *ONCE, "--lengths",
                        ",".join(map(str, [SHORT_TO_LONG[0], *SHORT_TO_LONG]))]),
    "selective": (SMALL, ["--tokens", "32768", "--lengths", "1024,32768", "--recompute",
                          "selective"]),
    "full": (SMALL, ["--tokens", "32768", "--lengths", "1024,32768", "--recompute", "full"]),
    "6m": ("6m", ["--preset", "6m", "--tokens", "4096", "--lengths", "512", "--repeat", "20"]),
    "44m": ("44m", ["--preset", "44m", "--tokens", "4096", "--lengths", "512", "--repeat", "20"]),
}
PEERS = {"peers": SMALL, "1b-peers": LARGE}
PEER_NAMES = {"tnl": "TransNormerLLM in PyTorch with fla", "llama": "LLaMA in PyTorch"}
PARTS = {"speed": ["none"], "1b": ["1b"], "chunks": ["chunks"], "peers": ["peers"],
         "lengths": ["lengths"], "memory": ["full", "selective"], "1b-peers": ["1b-peers"],
         "small": ["6m", "44m"]}
TARGETS = {SMALL: 185000, LARGE: 84000}


class Measurement:
    def __init__(self, args):
        self.args, self.started = args, time.time()
        self.found = {"date": str(datetime.date.today()), "runs": {}, "peers": {}}

    def command(self, command, limit=None):
        print(f"{time.time() - self.started:6.0f} s  {' '.join(map(str, command))}",
              file=sys.stderr, flush=True)
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False,
                                  timeout=limit)
        except subprocess.TimeoutExpired as cut:
            output = cut.stdout or b""
            return 124, output.decode() if isinstance(output, bytes) else output
        if done.returncode != 0:
            print(f"exit status {done.returncode}", file=sys.stderr)
        return done.returncode, done.stdout

    def left(self):
        return self.args.seconds - (time.time() - self.started)

    def run(self, name):
        model, flags = RUNS[name]
        status, output = self.command([self.args.tnl, "bench", "train", "--device", "cuda", "--json",
                                       *MODELS.get(model, []), *flags], max(self.left(), 1))
        if status != 0:
            return
        run = json.loads(output)
        run["results"] = run["results"][1 if "--warm-up" in flags else 0:]
        self.found["runs"][name] = run

    def peers(self, name):
        if not self.args.peer_script:
            return
        size = PEERS[name]
        lengths = self.args.peer_lengths or ("1024,4096,16384,32768" if size == SMALL
                                             else "1024,16384")
        _, output = self.command([self.args.peer_python, "-u", self.args.peer_script, "--size", size,
                                  "--tokens", str(TOKENS[size]), "--lengths", lengths,
                                  "--kinds", self.args.peer_kinds],
                                 max(min(self.left(), self.args.peer_seconds), 1))
        self.found["peers"][size] = parse_peers(output)

    def all(self):
        for part in self.args.parts.split(","):
            for name in PARTS[part]:
                if self.left() <= 0:
                    print(f"out of time before {name}", file=sys.stderr)
                    continue
                self.peers(name) if name in PEERS else self.run(name)
                write(self.args, self.found)


def parse_peers(output):
    """{"versions", "rows": [{"kind", "length", "tokens_per_second", "gibibytes"}]}"""
    lines = output.strip().splitlines()
    rows = []
    for line in lines:
        match = re.search(r"^(\w+).*\bT(\d+): *([\d.]+) tok/s.*peak *([\d.]+) GiB", line)
        if match:
            rows.append({"kind": match[1], "length": int(match[2]),
                         "tokens_per_second": float(match[3]), "gibibytes": float(match[4])})
    return {"versions": lines[0] if lines else "", "rows": rows}


def rate(row):
    return f"{row['tokens_per_second']:,.0f}"


def gib(count):
    return f"{count / 2**30:.1f}"


def spread(run):
    rates = [row["tokens_per_second"] for row in run["results"]]
    return max(rates) / min(rates)


def peer_at(found, model, kind, length):
    for row in found["peers"].get(model, {}).get("rows", []):
        if row["kind"] == kind and row["length"] == length:
            return row
    return None


def peer_kinds(found):
    rows = [row for peers in found["peers"].values() for row in peers["rows"]]
    return [kind for kind in PEER_NAMES if any(row["kind"] == kind for row in rows)]


def speed_rows(found, name, model):
    run = found["runs"].get(name)
    if run is None:
        return
    for row in run["results"]:
        cells = [model, run["recompute"], f"{row['length']:,}", f"**{rate(row)}**",
                 f"{row['gflops'] / 1000:.0f}"]
        for kind in peer_kinds(found):
            peer = peer_at(found, model, kind, row["length"])
            cells.append("" if peer is None else
                         f"{rate(peer)} ({row['tokens_per_second'] / peer['tokens_per_second']:.2f}x)")
        yield "| " + " | ".join(cells) + " |"


def write_speed(out, found):
    kinds = peer_kinds(found)
    names = "".join(f" {PEER_NAMES[kind]} |" for kind in kinds)
    out += ["## Speed", "", f"| model | recompute | length | tokens/s | TFLOP/s |{names}",
            "|---|---|---|---|---|" + "---|" * len(kinds)]
    for name, model in (("none", SMALL), ("selective", SMALL), ("full", SMALL), ("1b", LARGE)):
        out += speed_rows(found, name, model)
    out += ["", "0.4B: 24 layers of width 1,024, 8 heads, GLU of 2,816, vocabulary 64,000, untied head, no "
            "LRPE (464.5M parameters), 32,768 tokens a step. 1B: 16 layers of width 2,048, 16 heads, GLU "
            "of 5,632, likewise (1,151M), 16,384 tokens a step. TFLOP/s count 6 a parameter that multiplies "
            "and 16 d² a head and layer, for each token."
            + (" In brackets: how many times faster this is." if kinds else "")]
    for model, peers in found["peers"].items():
        memory = max((row["gibibytes"] for row in peers["rows"]), default=None)
        if memory is not None:
            out.append(f"PyTorch {model}: `{peers['versions']}`, bf16 autocast, torch.compile, fused AdamW, "
                       f"peak memory {memory} GiB.")
    for name, model in (("none", SMALL), ("1b", LARGE)):
        run = found["runs"].get(name)
        if run:
            least = min(row["tokens_per_second"] for row in run["results"])
            out.append(f"{model}, slowest length: {least:,.0f} tokens/s (target {TARGETS[model]:,}); "
                       f"largest over smallest {spread(run):.3f} (target 1.05).")
    full, none = found["runs"].get("full"), found["runs"].get("none")
    if full and none:
        share = min(row["tokens_per_second"] for row in full["results"]) / max(
            row["tokens_per_second"] for row in none["results"])
        out.append(f"Full recompute keeps {100 * share:.0f} % of the speed (target 75 %).")
    out.append("")


def write_memory(out, found):
    rows = []
    for name, run in found["runs"].items():
        memory = run.get("memory")
        if memory and "taken" in memory:
            rows.append(f"| {RUNS[name][0]} | {run['recompute']} | {run['tokens_per_pass']:,} | "
                        f"{gib(memory['planned'])} | {gib(memory['allocated'])} | {gib(memory['taken'])} | "
                        f"{100 * (memory['taken'] / memory['planned'] - 1):+.1f} % |")
    if not rows:
        return
    out += ["## Memory", "", "| model | recompute | tokens a pass | planned, GiB | allocated | "
            "gone from the device's free memory | of the plan |", "|---|---|---|---|---|---|---|", *rows, "",
            "The plan is what `tnl train --dry-run` prints; targets: within 3 % of what is used, at most 30 "
            "GiB at 32K tokens a step at full speed, 16 GiB with full recompute.", ""]


def write_chunks(out, found):
    run = found["runs"].get("chunks")
    if run is None:
        return
    one, long = run["results"][0], run["results"][-1]
    out += ["## One long sequence", "", "| length | tokens/s | s a step |", "|---|---|---|"]
    out += [f"| {row['length']:,} | {rate(row)} | {row['seconds_median']:.2f} |"
            for row in run["results"]]
    share = long["tokens_per_second"] / one["tokens_per_second"]
    out += ["", f"0.4B, the exact gradient in chunks of {CHUNK:,} tokens, states between chunks in host "
            f"memory, in one process and one plan of memory: {100 * share:.1f} % of the speed of {CHUNK:,} "
            "tokens (target 70 %; one more forward pass bounds it at 75 %).", ""]


def write_lengths(out, found, picture):
    run = found["runs"].get("lengths")
    if picture:
        out += [f"![time a token against the length of the sequence]({picture})", ""]
    if run is None:
        return
    out += ["## Lengths", "", "| length | tokens/s |", "|---|---|"]
    out += [f"| {row['length']:,} | {rate(row)} |" for row in run["results"]]
    out += ["", f"0.4B, {run['results'][0]['tokens']:,} tokens a step in one pass, full recompute; largest over "
            f"smallest {spread(run):.3f} (target 1.05).", ""]


def write_small(out, found):
    runs = [(name, found["runs"][name]) for name in ("6m", "44m") if name in found["runs"]]
    if not runs:
        return
    out += ["## Small models", "", "| model | tokens a step | tokens/s | ms a step |", "|---|---|---|---|"]
    out += [f"| {name} | {row['tokens']:,} | {rate(row)} | {1e3 * row['seconds_median']:.2f} |"
            for name, run in runs for row in run["results"]]
    out.append("")


def plot(args, found):
    """The picture of constant speed; whether there is one."""
    curves = {"training, all kept": "none", "full recompute": "lengths", "in chunks of 32K": "chunks"}
    runs = {title: found["runs"][name] for title, name in curves.items() if name in found["runs"]}
    if not args.plot or not runs:
        return False
    for kind, title in (("tnl", "PyTorch with fla"), ("llama", "LLaMA in PyTorch")):
        rows = [{"length": row["length"], "tokens": 1, "seconds_median": 1 / row["tokens_per_second"]}
                for row in found["peers"].get(SMALL, {}).get("rows", []) if row["kind"] == kind]
        if rows:
            runs[title] = {"results": rows}
    device = next(iter(found["runs"].values()))["device"]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, (title, run) in enumerate(runs.items()):
            files.append(pathlib.Path(folder) / f"{i}.json")
            files[-1].write_text(json.dumps({**run, "name": title}))
        subprocess.run([args.tnl, "plot", "--output", args.plot, "--title",
                        f"Time a token of training, 0.4B parameters, one {device}", "--speed", *files],
                       check=True, stdout=subprocess.DEVNULL)
    return True


def render(found, picture, notes):
    first = next(iter(found["runs"].values()))
    out = ["# Training on one H100", "",
           f"{first['device']}, {found['date']}, one run of `bench/train_table.py`. bf16 parameters and "
           "activations, fp32 gradients, master weights and moments; a step is forward, backward, "
           "gradient norm, clipping and AdamW on random tokens; medians.", ""]
    write_speed(out, found)
    write_chunks(out, found)
    write_lengths(out, found, picture)
    write_memory(out, found)
    write_small(out, found)
    return "\n".join(out) + ("\n" + notes if notes else "")


def write(args, found):
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    if not found["runs"]:
        return
    drawn = plot(args, found)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    before = args.out.read_text() if args.out.exists() else ""
    notes = before[before.index(NOTES):] if NOTES in before else ""
    args.out.write_text(render(found, args.plot.name if drawn else None, notes))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--tnl", default="build/tnl")
    parser.add_argument("--peer-script")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-lengths")
    parser.add_argument("--peer-seconds", type=float, default=600)
    parser.add_argument("--peer-kinds", default="tnl,llama")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--from", dest="source", type=pathlib.Path)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=3600)
    args = parser.parse_args()
    unknown = [part for part in args.parts.split(",") if part not in PARTS]
    if unknown:
        parser.error(f"--parts: found {unknown[0]}, expected some of {', '.join(PARTS)}")
    if args.source:
        write(args, json.loads(args.source.read_text()))
    else:
        Measurement(args).all()


if __name__ == "__main__":
    main()
