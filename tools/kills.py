#!/usr/bin/env python3
"""Kills `tnl train` or `tnl data pack` with SIGKILL at random moments and looks at what is left.

    tools/kills.py train --kills 100 --seed 1 [--tnl build/tnl]
    tools/kills.py pack  --kills 100 --seed 1

Training: after every kill the newest whole checkpoint is at least as new as before, the next start
resumes from exactly that one, and a run that was killed again and again ends with the parameters
and the losses, bit for bit, of one that never was. Packing: an output directory is there whole or
not at all, and what the same command leaves in the end is, byte for byte, what one that was never
killed leaves, with nothing else beside it.
"""
import argparse
import json
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

CONFIG = {"vocab_size": 258, "decoder_embed_dim": 16, "decoder_layers": 2,
          "decoder_attention_heads": 2, "hidden_dim": 16, "glu_dim": 24,
          "linear_use_lrpe_list": [1, 0]}


def fail(what):
    sys.exit(f"FAILED: {what}")


def text(seed, sentences):
    words = "the cat sat on a mat and then it slept until noon".split()
    draw = random.Random(seed)
    return "".join(" ".join(draw.choices(words, k=draw.randint(1, 14))) + ".\n"
                   for _ in range(sentences))


def run_to_end(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"exit status {done.returncode} of {' '.join(command)}: {done.stderr[-2000:]}")
    return done.stderr


def run_and_kill(command, seconds):
    """True and what it said where it was killed; False where it ended before, as it has to."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    said = process.communicate()[1]
    if process.returncode == -9:
        return True, said
    if process.returncode != 0:
        fail(f"exit status {process.returncode} of {' '.join(command)}: {said[-2000:]}")
    return False, said


def files_of(directory):
    return {str(p.relative_to(directory)): p.read_bytes()
            for p in sorted(directory.rglob("*")) if p.is_file()}


# Training ------------------------------------------------------------------------------------


def whole(checkpoint):
    """Whether every file is there as state.json says, read by other code than the program's."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        for name, expected in state["files"].items():
            content = (checkpoint / name).read_bytes()
            if [len(content), f"{zlib.crc32(content):08x}"] != [expected["bytes"],
                                                                expected["crc32"]]:
                return False
        return state["step"] == int(checkpoint.name.removeprefix("step-"))
    except (OSError, ValueError, KeyError):
        return False


def newest_checkpoint(run):
    found = [int(c.name.removeprefix("step-")) for c in (run / "checkpoints").glob("step-*")
             if re.fullmatch(r"step-\d+", c.name) and whole(c)]
    return max(found, default=0)


def check_model(run):
    """run/model is a whole model, or not there."""
    path = run / "model" / "model.safetensors"
    if not (run / "model").exists():
        return
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    if 8 + size + max(entry["data_offsets"][1] for entry in header.values()) != len(content):
        fail(f"{path} is not whole")
    for name in ("config.json", "tnl_tokenizer.json"):
        json.loads((run / "model" / name).read_text())


def check_same_run(run, reference):
    for name in ("model/model.safetensors", "model/config.json"):
        if (run / name).read_bytes() != (reference / name).read_bytes():
            fail(f"{run / name} is not that of the run that was never killed")

    def numbers(directory):
        lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
        return [{k: v for k, v in line.items() if k not in ("seconds", "tokens_per_second")}
                for line in lines]

    if numbers(run) != numbers(reference):
        fail(f"the losses of {run} are not those of the run that was never killed")
    left = [str(path) for path in run.rglob("*") if ".tmp" in path.name]
    if left:
        fail(f"left over: {left}")


def kill_training(tnl, place, kills, draw):
    (place / "text.txt").write_text(text(1, 400))
    (place / "shape").mkdir()
    (place / "shape" / "config.json").write_text(json.dumps(CONFIG))
    run_to_end([tnl, "data", "pack", str(place / "text.txt"), "-t", "bytes", "-o",
                str(place / "packed"), "--held-out", "0.1"])

    def start(run):
        return [tnl, "train", "--data", str(place / "packed"), "--config", str(place / "shape"),
                "--run", str(run), "--steps", "120", "--batch-tokens", "128", "--sequence-length",
                "64", "--checkpoint-every", "1", "--eval-every", "40", "--eval-tokens", "512",
                "--threads", "2"]

    reference = place / "reference"
    began = time.monotonic()
    run_to_end(start(reference))
    longest = max(0.1, (time.monotonic() - began) / 3)
    done = runs = resumed = 0
    while done < kills:
        run = place / f"run-{runs}"
        while True:
            before = newest_checkpoint(run)
            fresh = not (run / "run.json").exists()
            command = start(run) if fresh else [tnl, "train", "--resume", str(run), "--threads", "2"]
            killed, said = (run_and_kill(command, draw.uniform(0, longest)) if done < kills
                            else (False, run_to_end(command)))
            from_step = re.search(r"resumed at step (\d+)", said)
            if from_step and int(from_step[1]) != before:
                fail(f"resumed at step {from_step[1]}, the newest checkpoint was {before}")
            resumed += 1 if from_step else 0
            if not killed:
                break
            done += 1
            after = newest_checkpoint(run)
            if after < before:
                fail(f"checkpoint {before} is lost, the newest whole one is {after}")
            check_model(run)
        check_same_run(run, reference)
        shutil.rmtree(run)
        runs += 1
    return f"training: {done} kills, {resumed} times resumed, {runs} runs to the end, all as the reference"


# Packing -------------------------------------------------------------------------------------


def kill_packing(tnl, place, kills, draw):
    content = text(2, 120000)
    inputs = []
    for i in range(4):
        inputs.append(str(place / f"text-{i}.txt"))
        pathlib.Path(inputs[-1]).write_text(content[i * len(content) // 4:][:len(content) // 4])

    def command(output):
        return [tnl, "data", "pack", *inputs, "-t", "bytes", "-o", str(output), "--held-out",
                "0.1", "--shard-tokens", "300000", "--threads", "2"]

    (place / "reference").mkdir()
    began = time.monotonic()
    run_to_end(command(place / "reference" / "packed"))
    longest = 1.1 * (time.monotonic() - began)
    reference = files_of(place / "reference")
    done = runs = 0
    while done < kills:
        beside = place / f"pack-{runs}"
        beside.mkdir()
        output = beside / "packed"
        while True:
            killed = (run_and_kill(command(output), draw.uniform(0, longest))[0] if done < kills
                      else bool(run_to_end(command(output)) is None))
            if not killed:
                break
            done += 1
            if output.exists() and any(output.iterdir()):
                break  # it was whole when the kill came
        if files_of(beside) != reference:
            fail(f"{beside} is not what a run that was never killed leaves: "
                 f"{sorted(files_of(beside).keys() ^ reference.keys())}")
        shutil.rmtree(beside)
        runs += 1
    return f"packing: {done} kills, {runs} data sets packed to the end, all as the reference"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "pack"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tnl", default="build/tnl")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        kill = kill_training if options.what == "train" else kill_packing
        print(kill(str(pathlib.Path(options.tnl).resolve()), pathlib.Path(place), options.kills,
                   random.Random(options.seed)))


if __name__ == "__main__":
    main()
