#!/usr/bin/env python3
"""Measures training on one GPU with `tnl bench train` and writes docs/benchmarks/training_*.md and its
picture, with the same-size PyTorch models beside it where a script that trains them is given.

    bench/train_table.py --out docs/benchmarks/training_h200.md [--plot docs/benchmarks/training_h200.svg]
        [--tnl build/tnl]
        [--peer-script FILE] [--peer-python PYTHON]    prints lines "tnl ... T1024: 116500 tok/s ...";
                         --size, --tokens, --lengths and --kinds are given to it. Every length of every
                         kind has a process of its own: torch.compile makes a program for its shape
                         alone, and another shape would have it make one for all shapes
        [--json FILE]    keep what was measured; --from FILE... writes the page from it again: the first
                         file that has a part is taken, and the rows of the peers that earlier ones lack
        [--parts NAME,...]    some of the parts, in this order: speed (0.4B), 1b, chunks, peers,
                         lengths, memory, 1b-peers, small, graphs
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
import time

from page import kept_notes
from train_report import CHUNK, LARGE, SMALL, plot, render

MODELS = {SMALL: ["--preset", "385m", "--untied", "--no-lrpe"],
          LARGE: ["--preset", "1b", "--untied", "--no-lrpe"]}
TOKENS = {SMALL: 32768, LARGE: 16384}
NOTES = "## What bounds it"
LONG = 4194304
SHORT_TO_LONG = [1024, 4096, 16384, 65536, 262144, 524288]
# Steps of many seconds: the first row warms up and is left out.
ONCE = ["--repeat", "1", "--warm-up", "0"]
ONCE_RUNS = ("chunks", "lengths")

# Long enough for the clocks to settle where the power is limited.
WARM = ["--repeat", "8", "--warm-up", "8"]

# name -> (model, flags of tnl bench train)
RUNS = {
    "none": (SMALL, ["--tokens", "32768", "--lengths", "1024,4096,16384,32768", *WARM]),
    "1b": (LARGE, ["--tokens", "16384", "--lengths", "1024,4096,16384", *WARM]),
    "chunks": (SMALL, ["--tokens", str(CHUNK), "--lengths", f"{CHUNK},{CHUNK},{LONG}",
                       "--sequence-chunk", str(CHUNK), "--state-memory", "4096", *ONCE]),
    "lengths": (SMALL, ["--tokens", "524288", "--recompute", "full", *ONCE, "--lengths",
                        ",".join(map(str, [SHORT_TO_LONG[0], *SHORT_TO_LONG]))]),
    "selective": (SMALL, ["--tokens", "32768", "--lengths", "1024,32768", "--recompute",
                          "selective"]),
    "full": (SMALL, ["--tokens", "32768", "--lengths", "1024,32768", "--recompute", "full"]),
    "6m": ("6m", ["--tokens", "4096", "--lengths", "512", "--repeat", "20"]),
    "44m": ("44m", ["--tokens", "4096", "--lengths", "512", "--repeat", "20"]),
}
# With and without replaying a recorded pass, twice in turns: (preset, tokens a step, length, chunk).
GRAPHS = [("6m", 4096, 512, 0), ("6m", 4096, 4096, 0), ("44m", 4096, 1024, 0),
          ("44m", 32768, 4096, 0), (SMALL, 32768, 1024, 0), (SMALL, 32768, 32768, 0),
          ("6m", 65536, 65536, 8192)]
PEERS = {"peers": SMALL, "1b-peers": LARGE}
RUN_BESIDE = {SMALL: "none", LARGE: "1b"}
PEER_LENGTHS = {SMALL: "1024,4096,16384,32768", LARGE: "1024,4096,16384"}
PARTS = {"speed": ["none"], "1b": ["1b"], "chunks": ["chunks"], "peers": ["peers"],
         "lengths": ["lengths"], "memory": ["full", "selective"], "1b-peers": ["1b-peers"],
         "small": ["6m", "44m"], "graphs": ["graphs"]}


class Measurement:
    def __init__(self, args):
        self.args, self.started = args, time.time()
        self.found = {"date": str(datetime.date.today()), "runs": {}, "peers": {}, "graphs": []}

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

    def bench(self, model, flags):
        """What `tnl bench train --json` printed; nothing where it failed."""
        status, output = self.command([self.args.tnl, "bench", "train", "--device", "cuda", "--json",
                                       *MODELS.get(model, ["--preset", model]), *flags],
                                      max(self.left(), 1))
        return json.loads(output) if status == 0 else None

    def run(self, name):
        model, flags = RUNS[name]
        run = self.bench(model, flags)
        if run is None:
            return
        run["model"] = model
        run["results"] = run["results"][1 if name in ONCE_RUNS else 0:]
        self.found["runs"][name] = run

    def peers(self, name):
        if not self.args.peer_script:
            return
        size = PEERS[name]
        lengths = self.args.peer_lengths or PEER_LENGTHS[size]
        found = self.found["peers"].setdefault(size, {"versions": "", "rows": []})
        for kind in self.args.peer_kinds.split(","):
            for length in lengths.split(","):
                if self.left() <= 0:
                    return
                _, output = self.command([self.args.peer_python, "-u", self.args.peer_script,
                                          "--size", size, "--tokens", str(TOKENS[size]),
                                          "--lengths", length, "--kinds", kind],
                                         max(min(self.left(), self.args.peer_seconds), 1))
                versions, rows = parse_peers(output)
                found["versions"] = found["versions"] or versions
                found["rows"] += rows
                write(self.args, self.found)

    def graphs(self):
        for model, tokens, length, chunk in GRAPHS:
            flags = ["--tokens", str(tokens), "--lengths", str(length), "--repeat", "10",
                     *(["--sequence-chunk", str(chunk)] if chunk else [])]
            rates = {}
            for replay in (False, True, False, True):
                if self.left() <= 0:
                    return
                run = self.bench(model, [*flags, *([] if replay else ["--no-replay"])])
                if run:
                    rates.setdefault(replay, []).append(run["results"][0]["tokens_per_second"])
            self.found["graphs"].append({"model": model, "tokens": tokens, "length": length,
                                         "chunk": chunk, "single": rates.get(False, []),
                                         "replayed": rates.get(True, [])})
            write(self.args, self.found)

    def all(self):
        for part in self.args.parts.split(","):
            for name in PARTS[part]:
                if self.left() <= 0:
                    print(f"out of time before {name}", file=sys.stderr)
                    continue
                if name in PEERS:
                    self.peers(name)
                elif name == "graphs":
                    self.graphs()
                else:
                    self.run(name)
                write(self.args, self.found)


def parse_peers(output):
    """(versions, [{"kind", "length", "tokens_per_second", "gibibytes"}])"""
    lines = output.strip().splitlines()
    rows = []
    for line in lines:
        match = re.search(r"^(\w+).*\bT(\d+): *([\d.]+) tok/s.*peak *([\d.]+) GiB", line)
        if match:
            rows.append({"kind": match[1], "length": int(match[2]),
                         "tokens_per_second": float(match[3]), "gibibytes": float(match[4])})
    return lines[0] if lines else "", rows


def write(args, found):
    set_beside(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    if not found["runs"]:
        return
    drawn = args.plot and plot(args.tnl, args.plot, found)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(render(found, args.plot.name if drawn else None,
                               kept_notes(args.out, NOTES)))


def set_beside(found):
    """Into every row of a peer our speed in the same run."""
    for size, peers in found["peers"].items():
        run = found["runs"].get(RUN_BESIDE[size], {"results": []})
        rates = {row["length"]: row["tokens_per_second"] for row in run["results"]}
        for row in peers["rows"]:
            row["beside"] = row.get("beside") or rates.get(row["length"])


def joined(files):
    """What several files hold: of each part what comes first."""
    first, *others = [json.loads(file.read_text()) for file in files]
    for other in [first, *others]:
        set_beside(other)
    for other in others:
        first["runs"] = {**other["runs"], **first["runs"]}
        first["graphs"] = first.get("graphs") or other.get("graphs", [])
        for size, peers in other["peers"].items():
            rows = first["peers"].setdefault(size, {**peers, "rows": []})["rows"]
            known = {(row["kind"], row["length"]) for row in rows}
            rows += [row for row in peers["rows"] if (row["kind"], row["length"]) not in known]
            rows.sort(key=lambda row: row["length"])
    first["runs"] = {name: first["runs"][name] for name in RUNS if name in first["runs"]}
    return first


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
    parser.add_argument("--from", dest="sources", type=pathlib.Path, nargs="+")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=3600)
    args = parser.parse_args()
    unknown = [part for part in args.parts.split(",") if part not in PARTS]
    if unknown:
        parser.error(f"--parts: found {unknown[0]}, expected some of {', '.join(PARTS)}")
    if args.sources:
        write(args, joined(args.sources))
        return
    Measurement(args).all()


if __name__ == "__main__":
    main()
