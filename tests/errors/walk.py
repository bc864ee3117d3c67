#!/usr/bin/env python3
"""Walks the tables of docs/errors.md: runs every command over the inputs of bad_inputs.py and
expects its sentence on standard error, exit status 2, nothing on standard output and no file
touched. An ellipsis in a sentence stands for what differs between machines.

    walk.py TNL TEST_DATA ERRORS.md [--print]    --print: the tables as the command answers now
"""
import ctypes
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from bad_inputs import Builder

ROW = re.compile(r"^\| (?P<what>[^|]+) \| `(?P<command>tnl[^`]*)` \| (?P<sentence>.+) \|$")
FLAGS_HELP = "\nRun with --help for more information."
SECONDS = 120


def drop_override():
    """Root may open everything; without these capabilities it is refused as anyone else is."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def snapshot(root):
    """Name, size and time of everything there."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            size = info.st_size if name in files else 0
            found[os.path.relpath(path, root)] = (info.st_mode, size, info.st_mtime_ns)
    return found


def run(command, root, tnl):
    environment = {**os.environ, "PATH": f"{os.path.dirname(tnl)}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", command], cwd=root, env=environment, timeout=SECONDS,
                          stdin=subprocess.DEVNULL, capture_output=True, preexec_fn=drop_override)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def sentence_of(error):
    """The last line; what stands before it is progress."""
    text = error.rstrip("\n")
    if text.endswith(FLAGS_HELP):
        text = text[:-len(FLAGS_HELP)]
    return text.split("\n")[-1].removeprefix("tnl: ")


def fits(expected, found):
    parts = [re.escape(part) for part in expected.split("…")]
    return re.fullmatch(".*".join(parts), found) is not None


def check(row, root, tnl):
    """What is wrong with the answer; empty: nothing."""
    before = snapshot(root)
    status, out, error = run(row["command"], root, tnl)
    problems = []
    if status != 2:
        problems.append(f"exit status {status}, expected 2")
    if [line for line in error.split("\n") if line.startswith("tnl: ")] != [
            "tnl: " + sentence_of(error)]:
        problems.append("expected one sentence behind 'tnl: '")
    if not fits(row["sentence"], sentence_of(error)):
        problems.append(f"found {error!r}, expected {row['sentence']}")
    if out:
        problems.append(f"standard output: {out[:200]!r}")
    after = snapshot(root)
    if after != before:
        changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
        problems.append(f"touched {', '.join(changed[:5])}")
    return problems


def main(tnl, test_data, document, show=False):
    tnl = os.path.abspath(tnl)
    lines = pathlib.Path(document).read_text().splitlines()
    rows = [match.groupdict() for match in map(ROW.match, lines) if match]
    failed = skipped = 0
    with tempfile.TemporaryDirectory() as root:
        builder = Builder(root, tnl, test_data)
        builder.build()
        can_read_all = run("cat closed.txt", root, tnl)[0] == 0
        for row in rows:
            if "closed" in row["command"] and can_read_all:
                skipped += 1
                continue
            if show:
                status, _, error = run(row["command"], root, tnl)
                note = "" if status == 2 else f" EXIT {status}"
                sentence = sentence_of(error).replace(root, "…")
                print(f"| {row['what']} | `{row['command']}` | {sentence} |{note}")
                continue
            problems = check(row, root, tnl)
            failed += 1 if problems else 0
            for problem in problems:
                print(f"{row['what']}\n  {row['command']}\n  {problem}")
        unused = [path.name for path in pathlib.Path(root).iterdir()
                  if not any(path.name in row["command"] for row in rows)
                  and path.name not in ("shape", "other", "other.txt", "circle-2", "run")]
    if show:
        return 0
    if unused:
        print(f"docs/errors.md does not mention: {', '.join(sorted(unused))}")
    print(f"{len(rows) - failed - skipped} sentences as documented, {failed} not, {skipped} skipped")
    return 1 if failed or unused or not rows else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], show="--print" in sys.argv))
