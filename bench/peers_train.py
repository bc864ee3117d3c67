#!/usr/bin/env python3
"""Runs a PyTorch training benchmark that calls fla's chunk_simple_gla twice, unmodified: once with
tnl's operator in the place of fla's, once as it is. Prints both, and a table of the tokens/s.

    PYTHONPATH=FLA_CHECKOUT bench/peers_train.py [--markdown FILE] TRAIN.py ARGUMENTS OF TRAIN.py

TRAIN.py prints lines that hold "T<length>:" and "<number> tok/s". fla's kernels try some 150
configurations: with --shapes BxTxHxD they are compiled by many processes first (bench/peers.py).
"""

import argparse
import datetime
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
EXCHANGED = """
import runpy, sys
import fla.ops.simple_gla
import tnl.compat
fla.ops.simple_gla.chunk_simple_gla = tnl.compat.chunk_simple_gla
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(command):
    """The tokens/s at each length that the script prints; its output goes on to ours."""
    found = {}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        print("   ", line, end="", flush=True)
        match = re.search(r"\bT(\d+):\s+([\d.]+) tok/s", line)
        if match:
            found[int(match[1])] = float(match[2])
    if process.wait():
        print(f"{command[-1]}: ended with status {process.returncode}", flush=True)
    return found


def compile_kernels(shapes):
    import fla

    checkout = pathlib.Path(fla.__file__).resolve().parent.parent
    sys.path.insert(0, str(HERE))
    import peers

    peers.compile_all(argparse.Namespace(fla=str(checkout), shapes=shapes))


def write(path, script, arguments, theirs, ours):
    import torch

    lines = [
        "# A training step with the operator exchanged",
        "",
        f"Written by `bench/peers_train.py` on one {torch.cuda.get_device_name()}, "
        f"{datetime.date.today()}, PyTorch {torch.__version__}: `{script.name} "
        f"{' '.join(arguments)}`, a TransNormerLLM in PyTorch under torch.compile, as it is, and with "
        "`fla.ops.simple_gla.chunk_simple_gla` replaced by `tnl.compat.chunk_simple_gla`. Tokens a "
        "second of whole training steps.",
        "",
        "| length | fla's operator | tnl's operator | ratio |",
        "|---|---|---|---|",
    ]
    for length in sorted(theirs.keys() | ours.keys()):
        a, b = theirs.get(length), ours.get(length)
        text = [f"{x:,.0f}" if x else "did not end" for x in (a, b)]
        lines.append(f"| {length:,} | {text[0]} | {text[1]} | {f'{b / a:.2f}' if a and b else ''} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if path:
        pathlib.Path(path).write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", help="write the table here as well")
    parser.add_argument("--shapes", help="of the operator in TRAIN.py: compile fla's kernels first")
    parser.add_argument("script", type=pathlib.Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    script = [str(options.script), *options.arguments]
    os.environ["PYTHONUNBUFFERED"] = "1"
    print("with tnl's operator:", flush=True)
    ours = run([sys.executable, "-c", EXCHANGED, *script])
    write(options.markdown, options.script, options.arguments, {}, ours)
    if options.shapes:
        compile_kernels(options.shapes)
    print("with fla's operator:", flush=True)
    theirs = run([sys.executable, *script])
    write(options.markdown, options.script, options.arguments, theirs, ours)


if __name__ == "__main__":
    main()
