#!/usr/bin/env python3
"""Runs the peers' own tests of what tnl.compat covers, unmodified but for the import: on a GPU, with
their checkouts at hand.

    python/tests/peers.py FLA_CHECKOUT LIGHTNING_ATTENTION_CHECKOUT [--markdown FILE]

Their references stay theirs. Of fla this is tests/ops/test_lightning_attn.py: its chunk form is ours
here, the recurrent one it is compared with stays theirs. fla's tests of simple_gla all pass a gate
for each token, which tnl has not. Of lightning-attention it is both test_lightning2 files; they
print norms and end in `assert False`, in whose place stands the largest error allowed.
"""

import argparse
import collections
import datetime
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

COMPARED = (
    "    for x, y in ((o, o_ref), (dq, dq_ref), (dk, dk_ref), (dv, dv_ref)):\n"
    "        assert torch.norm((x - y).float()) <= 1e-2 * torch.norm(y.float())"
)
# Their packages without what else these would import.
CONFTEST = """
import pathlib, sys, types
for name in ("fla", "fla.ops"):
    package = types.ModuleType(name)
    package.__path__ = [str(pathlib.Path({fla!r}).joinpath(*name.split(".")))]
    package.__version__ = "checkout"
    sys.modules[name] = package
"""
# The references of these build matrices of many GB: one at a time.
LARGE = "4096 or 8192"


def exchange(source, *changes):
    text = source.read_text()
    for found, put in changes:
        text, count = re.subn(found, put, text, flags=re.MULTILINE)
        if count == 0:
            sys.exit(f"{source}: found no {found!r}: another version of the peer's tests?")
    return text


def write_tests(fla, la, work):
    (work / "conftest.py").write_text(CONFTEST.format(fla=str(fla)))
    (work / "test_fla_lightning_attn.py").write_text(exchange(
        fla / "tests/ops/test_lightning_attn.py",
        (r"^from fla\.ops\.lightning_attn import .*$",
         "from fla.ops.lightning_attn import fused_recurrent_lightning_attn\n"
         "from tnl.compat import chunk_lightning_attn")))
    for file, name in (("test_lightning2", "lightning_attn2"),
                       ("test_lightning2_no_decay", "lightning_attn2_no_decay")):
        (work / f"{file}.py").write_text(exchange(
            la / f"tests/ops/{file}.py",
            (r"^from lightning_attn\.ops import .*$",
             "from lightning_attn.ops import linear_attn\n"
             f"from tnl.compat import lightning_attn_func as {name}"),
            (r"^    assert False$", COMPARED)))


def run(work, paths, report, *arguments):
    environment = dict(os.environ, OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "2"))
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, paths), environment.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider",
         f"--junit-xml={report}", *arguments, "."], cwd=work, env=environment)


def counts(reports):
    found = collections.defaultdict(collections.Counter)
    for report in filter(pathlib.Path.exists, reports):
        for case in xml.parse(report).iter("testcase"):
            file = case.get("classname").split(".")[-1]
            kinds = {child.tag for child in case}
            outcome = ("failed" if kinds & {"failure", "error"} else
                       "skipped" if "skipped" in kinds else "passed")
            found[file][outcome] += 1
    return found


def version(fla):
    found = re.search(r'__version__ = "([^"]+)"', (fla / "fla/__init__.py").read_text())
    return found.group(1) if found else "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fla", type=pathlib.Path)
    parser.add_argument("lightning_attention", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path, help="write the result here as well")
    parser.add_argument("--workers", type=int, default=8, help="with pytest-xdist")
    args = parser.parse_args()
    fla, la = args.fla.resolve(), args.lightning_attention.resolve()
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        write_tests(fla, la, work)
        reports = [work / "small.xml", work / "large.xml"]
        parallel = ["-n", str(args.workers)] if importlib.util.find_spec("xdist") else []
        run(work, [fla, la], reports[0], "-k", f"not ({LARGE})", *parallel)
        run(work, [fla, la], reports[1], "-k", LARGE)
        found = counts(reports)

    import torch
    import triton

    lines = [
        "# The peers' own tests, over tnl",
        "",
        f"Written by `python/tests/peers.py` on one {torch.cuda.get_device_name()}, "
        f"{datetime.date.today()}, in {time.time() - start:.0f} s: fla {version(fla)}, PyTorch "
        f"{torch.__version__}, Triton {triton.__version__}. Their files, unmodified but for the "
        "import of the operator, against their own references.",
        "",
        "| tests | passed | failed | skipped |",
        "|---|---|---|---|",
    ]
    files = {
        "test_fla_lightning_attn": "fla, `tests/ops/test_lightning_attn.py`",
        "test_lightning2": "lightning-attention, `tests/ops/test_lightning2.py`",
        "test_lightning2_no_decay": "lightning-attention, `tests/ops/test_lightning2_no_decay.py`",
    }
    for file, text in files.items():
        c = found[file]
        lines.append(f"| {text} | {c['passed']} | {c['failed']} | {c['skipped']} |")
    lines += [
        "",
        "Not covered: fla's `test_simple_gla.py`, whose cases all pass a gate for each token. "
        "lightning-attention's two files print the norms of differences and end in `assert False`; "
        "in its place stands a relative error of at most 1e-2 for o, dq, dk and dv.",
    ]
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")
    if not all(found[file]["passed"] and not found[file]["failed"] for file in files):
        sys.exit(1)


if __name__ == "__main__":
    main()
