#!/usr/bin/env python3
"""Writes docs/benchmarks/memory.md: the peak memory of training against the length of the text, and
of packing against the size of it.

    bench/memory.py --text TEXT --tokenizer FILE --markdown docs/benchmarks/memory.md

Runs `tnl bench memory --json`; the longest text takes about half an hour on one core. What it
printed earlier, on this machine, can be given with --json FILE in place of a run. Packing reads TEXT
once, 8 and 32 times over, the last under a limit on memory below the size of the text; it is left out
without --text and --tokenizer.
"""

import argparse
import datetime
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import time

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


# One run of `tnl data pack`: its peak memory in bytes and its seconds. `limit`: bytes of data it may
# have; a mapped file does not count.
def pack_once(tnl, folder, text, tokenizer, copies, limit):
    source = folder / "text.txt"
    with source.open("wb") as file:
        for _ in range(copies):
            file.write(text.read_bytes())
    start = time.perf_counter()
    process = subprocess.Popen(
        [tnl, "data", "pack", source, "-t", tokenizer, "-o", folder / f"packed-{copies}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: limit and resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"tnl data pack of {copies} copies ended with {process.returncode}")
    return usage.ru_maxrss * 1024, time.perf_counter() - start


def packing(tnl, text, tokenizer):
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for copies in (1, 8, 32):
            size = copies * text.stat().st_size
            limit = size // 4 if copies == 32 else 0
            peak, seconds = pack_once(tnl, folder, text, tokenizer, copies, limit)
            allowed = f"{limit / 2**20:,.0f} MiB" if limit else "none"
            rows.append(f"| {size / 1e6:,.0f} | {peak / 2**20:.1f} | {allowed} | "
                        f"{size / 1e6 / seconds:.1f} |")
    table = "\n".join(rows)
    return f"""
## Packing

`tnl data pack` with {tokenizer.name}, {os.cpu_count()} threads, one text file; the peak counts pages of the file while they are mapped.

| MB of text | peak MiB | limit on data (`ulimit -d`) | MB/s |
|---|---|---|---|
{table}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tnl", default="build/tnl")
    parser.add_argument("--json", type=pathlib.Path, help="what tnl bench memory --json printed")
    parser.add_argument("--text", type=pathlib.Path, help="some tens of megabytes to pack")
    parser.add_argument("--tokenizer", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    date = datetime.date.today()
    if arguments.json:
        run = json.loads(arguments.json.read_text())
        date = datetime.date.fromtimestamp(arguments.json.stat().st_mtime)
    else:
        run = measure(arguments.tnl)
    body = page(run, date)
    if arguments.text and arguments.tokenizer:
        body += packing(arguments.tnl, arguments.text, arguments.tokenizer)
    arguments.markdown.write_text(body)


if __name__ == "__main__":
    main()
