#!/usr/bin/env python3
"""Measures the attention operator on one GPU with `tnl bench attention` and writes the tables of
docs/benchmarks/h100.md, with the peers beside it where a checkout of theirs is given.

    bench/gpu_table.py --out docs/benchmarks/h100.md --json measured.json [--tnl build/tnl]
        [--fla CHECKOUT] [--kittens CHECKOUT] [--mamba CHECKOUT] [--la CHECKOUT] [--tuned FILE]
                         the peers, first (bench/peers.py)
        [--peers FILE]   or what bench/peers.py measured in the same run
        [--quick]        fewer repetitions and shapes

FILE.json is written after every table: what it holds is not measured again, so that a run that was
stopped goes on, and one of which everything is there only writes the page. What the page holds from
"What falls short" on is kept.
"""

import argparse
import datetime
import json
import pathlib
import random
import subprocess
import sys
import time

from page import kept_notes

LENGTHS = ["1x524288x16", "4x131072x16", "16x32768x16", "64x8192x16", "128x4096x16", "512x1024x16"]
MANY = ["16x2048x16", "8x4096x16", "4x8192x16", "4x8192x32", "2x16384x64"]
LONG = ["1x131072x16", "1x524288x16", "1x32768x16", "1x131072x4"]
PEER_SHAPES = ["16x2048x16x128", "4x8192x16x128", "1x32768x16x128", "1x131072x16x128",
               "1x524288x16x128", "4x8192x32x128", "8x4096x16x64", "4x8192x32x64"]


def wide(shapes, *widths):
    return [f"{shape}x{width}" for width in widths for shape in shapes]


def packed_lengths():
    """64 lengths from 100 to 8000 tokens."""
    draw = random.Random(1)
    return ",".join(str(draw.randint(100, 8000)) for _ in range(64))


def targets(table):
    """{(shape or prefix, pass): multiple of the floor} of the table."""
    many = {"forward": 1.08, "backward": 1.6}
    first = {"1x131072x16": (1.08, 1.6), "1x524288x16": (1.08, 1.6), "1x32768x16": (1.15, 1.7),
             "1x131072x4": (1.25, 1.8)}
    zero = {"1x131072x16": (1.4, 2.0), "1x524288x16": (1.4, 2.0), "1x32768x16": (1.5, 2.1),
            "1x131072x4": (1.6, 2.3)}
    if table == "many":
        return {(shape, name): most for shape in MANY for name, most in many.items()}
    if table in ("first", "zero"):
        pairs = first if table == "first" else zero
        return {(shape, name): most for shape, both in pairs.items()
                for name, most in zip(("forward", "backward"), both)}
    if table == "lrpe":
        return {("4x8192x16x256x128", "forward"): 1.25, ("4x8192x16x256x128", "backward"): 1.8}
    if table == "varlen":
        return {("64x", "forward"): 1.3, ("64x", "backward"): 1.8}
    return {}


# name, title, shapes, further flags
TABLES = [
    ("many", "Many heads, first-layer slopes", wide(MANY, 128, 64), ["--slopes", "first"]),
    ("first", "Long sequences, first-layer slopes", wide(LONG, 128, 64), ["--slopes", "first"]),
    ("zero", "Long sequences, without decay", wide(LONG, 128, 64), ["--slopes", "zero"]),
    ("lrpe", "LRPE layer: K = 256, V = 128", ["4x8192x16x256x128"], ["--slopes", "first"]),
    ("varlen", "Packed: 64 sequences of 100 to 8,000 tokens", wide(["64x4096x16"], 128, 64),
     ["--slopes", "first", "--varlen", packed_lengths()]),
    ("states", "With initial and final states", ["16x2048x16x128", "4x8192x16x128"],
     ["--slopes", "first", "--states"]),
    ("precise", "The precise plan", ["4x8192x16x128", "4x8192x32x64"],
     ["--slopes", "first", "--precise"]),
    ("lengths", "One number of tokens, from short to long sequences", wide(LENGTHS, 128),
     ["--slopes", "first"]),
    ("small", "A small call, in a graph", ["16x64x16x128"],
     ["--slopes", "first", "--graph", "--pass", "forward"]),
    ("decode", "Decode, in a graph: T tokens a sequence",
     ["1x1x16x128", "64x1x16x128", "256x1x16x128", "64x1x64x128", "1x8x16x128", "64x8x16x128"],
     ["--slopes", "first", "--graph", "--step"]),
]
ERROR_SHAPES = ["1x8192x8x128", "1x8192x8x64"]


def run_each(command, shapes, flags):
    """Each shape in a process of its own: what was allocated before it can cost a sixth of its speed
    (docs/kernels/segments.md)."""
    reports = [run([*command, shape, *flags]) for shape in shapes]
    found = [report for report in reports if report]
    if found:
        found[0]["results"] = [result for report in found for result in report["results"]]
    return found[0] if found else None


def run(command):
    print(" ".join(command)[:160], file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"exit status {done.returncode}", file=sys.stderr)
        return None
    return json.loads(done.stdout)


def measure(args):
    """What args.json does not hold yet; the file is written anew after every table."""
    found = {"date": str(datetime.date.today()), "tables": {}, "errors": {}, "peers": None,
             "seconds": {}}
    if args.json.exists():
        found.update(json.loads(args.json.read_text()))

    def keep(group, name, work):
        if found[group].get(name):
            return
        start = time.time()
        found[group][name] = work()
        found["seconds"][f"{group} {name}"] = round(time.time() - start, 1)
        write_file(args.json, json.dumps(found, indent=1))

    if args.peers:
        found["peers"] = json.loads(args.peers.read_text())
    elif args.fla and not found["peers"]:
        found["peers"] = measure_peers(args)
    bench = [args.tnl, "bench", "attention", "--device", "cuda", "--json", "--repeat",
             "5" if args.quick else str(args.repeat), "--shapes"]
    for name, _, shapes, flags in TABLES:
        kept = shapes[:2] if args.quick else shapes
        keep("tables", name, lambda: run_each(bench, kept, [*flags, "--no-errors"]))
    for slopes in ("first", "half", "zero"):
        for precision in ([], ["--precise"]):
            name = slopes + (", precise" if precision else "")
            flags = ["--states", "--slopes", slopes, *precision]
            keep("errors", name, lambda: run(bench + [",".join(ERROR_SHAPES), *flags]))
    return found


def measure_peers(args):
    script = pathlib.Path(__file__).with_name("peers.py")
    out = args.json.with_name("peers.json")
    shapes = PEER_SHAPES[1:2] if args.quick else PEER_SHAPES
    command = [sys.executable, str(script), "--out", str(out), "--fla", args.fla, "--shapes",
               ",".join(shapes), "--seconds", str(args.peer_seconds)]
    for name in ("kittens", "mamba", "la", "tuned"):
        if getattr(args, name):
            command += [f"--{name}", getattr(args, name)]
    try:
        subprocess.run(command, check=False, timeout=1.5 * args.peer_seconds)
    except subprocess.TimeoutExpired:
        print("the peers took too long; what they finished is kept", file=sys.stderr)
    return json.loads(out.read_text()) if out.exists() else None


def write_file(path, text):
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)


def rows_by_shape(report):
    rows = {}
    for result in report["results"]:
        rows.setdefault(result["shape"], {})[result["pass"]] = result
    return rows


def time_text(seconds):
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-4 else f"{seconds * 1e3:.3f} ms"


def cell(result, most):
    if result is None:
        return "-"
    multiple = f"**{result['multiple_of_floor']:.2f}**"
    wanted = f" (target {most})" if most else ""
    return f"{time_text(result['seconds_median'])}, {multiple}{wanted}"


def target_of(wanted, shape, name):
    for (prefix, which), most in wanted.items():
        if which == name and (shape == prefix or shape.startswith(prefix + "x") or
                              (prefix.endswith("x") and shape.startswith(prefix))):
            return most
    return None


def plain_plan(text):
    return text.split(": ", 1)[1].split(", workspace")[0] if ": " in text else text


def write_table(out, name, title, report):
    out.append(f"\n## {title}")
    if report is None:
        out.append("Not measured: the command failed.")
        return
    wanted = targets(name)
    passes = sorted({result["pass"] for result in report["results"]}, reverse=True)
    passes = [one for one in ("forward", "backward", "step") if one in passes]
    out.append("| B x T x H x K[xV] | " + " | ".join(f"{one}: time, multiple of the floor"
                                                     for one in passes) +
               " | GB/s | plan |")
    out.append("|---" * (3 + len(passes)) + "|")
    for shape, row in rows_by_shape(report).items():
        cells = [cell(row.get(one), target_of(wanted, shape, one)) for one in passes]
        speeds = " / ".join(f"{row[one]['gigabytes_per_second']:.0f}" for one in passes
                            if one in row)
        plans = "; ".join(dict.fromkeys(plain_plan(row[one]["plan"]) for one in passes
                                        if one in row))
        out.append(f"| {shape} | " + " | ".join(cells) + f" | {speeds} | {plans} |")
    if name == "lengths":
        for one in passes:
            times = [row[one]["seconds_median"] for row in rows_by_shape(report).values()
                     if one in row]
            out.append(f"\nTime per token, {one}: longest over shortest "
                       f"{max(times) / min(times):.3f} (target 1.15).")


def write_errors(out, errors):
    out.append("\n## Error: relative RMS against fp64 on a sample")
    out.append("| shape, slopes | o | state | dq | dk | dv |\n|---|---|---|---|---|---|")
    for name, report in errors.items():
        if report is None:
            continue
        for shape, row in rows_by_shape(report).items():
            found = {}
            for result in row.values():
                found.update(result["relative_rms"])
            values = [f"{found[one]:.2e}" if one in found else "-"
                      for one in ("o", "state_out", "dq", "dk", "dv")]
            out.append(f"| {shape}, {name} | " + " | ".join(values) + " |")


def write_peers(out, found):
    peers = found["peers"]
    if not peers:
        return
    ours = {}
    for name in ("many", "first"):
        if found["tables"].get(name):
            for result in found["tables"][name]["results"]:
                ours[result["shape"], result["pass"]] = result["seconds_median"]
    names = list(dict.fromkeys(result["peer"] for result in peers["results"]))
    theirs = {(result["peer"], result["shape"], result["pass"]): result["seconds_median"]
              for result in peers["results"]}
    out.append("\n## Beside what people would otherwise call, same run")
    out.append(f"{peers['versions']}, by `bench/peers.py`; copy "
               f"{peers['copy_gigabytes_per_second']:.0f} GB/s. The target is 4 times faster than "
               "fla (chunk_simple_gla with g_gamma). ThunderKittens has a forward pass for width 128 alone.\n")
    out.append("| shape | pass | tnl | " + " | ".join(f"{name}: time, times ours" for name in names) +
               " | at least 4x fla |")
    out.append("|---" * (4 + len(names)) + "|")
    for shape, which in dict.fromkeys((result["shape"], result["pass"])
                                      for result in peers["results"]):
        mine = ours.get((shape, which))
        cells = []
        for name in names:
            seconds = theirs.get((name, shape, which))
            if seconds is None:
                cells.append("-")
            else:
                cells.append(time_text(seconds) + (f", **{seconds / mine:.1f}**" if mine else ""))
        fla = theirs.get(("fla", shape, which))
        judged = "-" if not mine or fla is None else "yes" if fla >= 4 * mine else "no"
        out.append(f"| {shape} | {which} | {time_text(mine) if mine else '-'} | " +
                   " | ".join(cells) + f" | {judged} |")


NOTES = "## What falls short"  # from here on the page is written by hand


def render(found, notes):
    first = next(report for report in found["tables"].values() if report)
    out = [f"# Lightning attention on one {first['device']}",
           f"\nMeasured {found['date']} by `bench/gpu_table.py`, bf16, scale 1. The floor is every "
           "input read once and every output written once at the bandwidth of a copy, "
           f"{first['copy_gigabytes_per_second']:.0f} GB/s in this run. Medians; the second-level "
           "cache is emptied by reading before each repetition."]
    for name, title, _, _ in TABLES:
        write_table(out, name, title, found["tables"].get(name))
    write_errors(out, found["errors"])
    write_peers(out, found)
    return "\n".join(out) + "\n" + ("\n" + notes if notes else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--json", required=True, type=pathlib.Path)
    parser.add_argument("--tnl", default="build/tnl")
    parser.add_argument("--peers", type=pathlib.Path)
    parser.add_argument("--fla")
    for name in ("kittens", "mamba", "la"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--tuned")
    parser.add_argument("--peer-seconds", type=float, default=120)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    found = measure(args)
    if not any(found["tables"].values()):
        sys.exit("nothing could be measured")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(args.out, render(found, kept_notes(args.out, NOTES)))
    spent = found["seconds"]
    print(f"{sum(spent.values()):.0f} s: {spent}", file=sys.stderr)


if __name__ == "__main__":
    main()
