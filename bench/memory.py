#!/usr/bin/env python3
"""Writes docs/benchmarks/memory.md: the peak memory of training against the length of the text.

    bench/memory.py --markdown docs/benchmarks/memory.md

Runs `tnl bench memory --json`; the longest text takes about half an hour on one core. What it
printed earlier, on this machine, can be given with --json FILE in place of a run.
"""

import argparse
import datetime
import json
import pathlib
import subprocess

LIMIT = 1.10


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def measure(tnl):
    done = subprocess.run([tnl, "bench", "memory", "--threads", "1", "--json"], check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def page(run, date):
    rows = "\n".join(
        f"| {row['length']:,} | {row['peak_bytes'] / 2**20:.1f} | {row['loss']:.4f} |"
        for row in run["results"])
    ratio = run["largest_over_smallest_peak"]
    return f"""# Memory of training against the length of the text

Written by `bench/memory.py` from `tnl bench memory`; {processor()}, {date}.

One training step (gradient and AdamW) on one sequence of random tokens, `{run['preset']}` preset, {run['parameters']:,} parameters,
`--sequence-chunk {run['sequence_chunk']} --state-memory {run['state_memory_mib']}`, each length in a process of its own. The peak is the most
memory the process ever had, shared libraries and all.

| tokens | peak MiB | loss |
|---|---|---|
{rows}

Largest over smallest peak: {ratio:.3f} (asked: at most {LIMIT:.2f}, {"met" if ratio <= LIMIT else "not met"}). What grows is the memory for the states between
chunks, up to its budget of {run['state_memory_mib']} MiB; the rest of them goes to a file. Beyond that a chunk costs the 8 bytes of the place
where it begins.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tnl", default="build/tnl")
    parser.add_argument("--json", type=pathlib.Path, help="what tnl bench memory --json printed")
    parser.add_argument("--markdown", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    date = datetime.date.today()
    if arguments.json:
        run = json.loads(arguments.json.read_text())
        date = datetime.date.fromtimestamp(arguments.json.stat().st_mtime)
    else:
        run = measure(arguments.tnl)
    arguments.markdown.write_text(page(run, date))


if __name__ == "__main__":
    main()
