#!/usr/bin/env python3
"""Learning curves of TransNormerLLM trained by `tnl train` and of a LLaMA of the same size in PyTorch
(bench/torch_llama.py), on the very same batches, at several contexts. Three steps:

    bench/learning.py data --train books_*.txt.zst --held-out valid.txt.zst --tokenizer FILE -o joined
    bench/learning.py run --data joined --output results --contexts 4096,512,32768
    bench/learning.py report --results results --markdown docs/benchmarks/learning.md

`run` tries some learning rates for both at every context, briefly, then trains each with its best one,
one run after the other with the GPU to itself. What is done lies in the output directory at once: a run
that is cut off loses only what it had not finished.
"""

import argparse
import datetime
import json
import math
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from learning_report import report

HERE = pathlib.Path(__file__).resolve().parent


def data(o):
    """Packs both texts and makes a document of each."""
    with tempfile.TemporaryDirectory() as work:
        for name, inputs in (("train", o.train), ("held-out", o.held_out)):
            subprocess.run([o.tnl, "data", "pack", *inputs, "--document-separator", o.separator,
                            "--tokenizer", o.tokenizer, "--held-out", "0", "-o", f"{work}/{name}"],
                           check=True)
        subprocess.run([sys.executable, HERE / "token_data.py", "join", "--train", f"{work}/train",
                        "--held-out", f"{work}/held-out", "--multiple", str(o.multiple),
                        "-o", o.output], check=True)


class Runs:
    def __init__(self, o):
        self.o = o
        self.output = pathlib.Path(o.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="learning-"))
        self.started = time.time()

    def say(self, what):
        print(f"{time.time() - self.started:6.1f} s  {what}", flush=True)

    def describe(self):
        """What the page says about all runs."""
        import torch

        o = self.o
        index = json.loads((pathlib.Path(o.data) / "index.json").read_text())
        counts = {split: index["splits"][split]["tokens"] for split in ("train", "heldout")}
        self.about = {
            "device": torch.cuda.get_device_name() if o.device == "cuda" else "CPU",
            "date": str(datetime.date.today()), "torch": torch.__version__, "preset": o.preset,
            "data": f"{o.about_data}, {counts['train'] / 1e6:.1f} M tokens to train on",
            "warmup_steps": o.warmup_steps, "eval_tokens": o.eval_tokens, "parameters": {}}

    def train(self, name, model, context, rates, steps, evaluations):
        """Runs to the end; the directory of the run, or None where it failed."""
        o = self.o
        command = ([o.tnl, "train", "--preset", o.preset, "--checkpoint-every", "0"]
                   if model == "tnl" else
                   [sys.executable, HERE / "torch_llama.py", *o.llama.split(),
                    "--trial-steps", str(o.trial_tokens // o.batch_tokens)])
        command += ["--device", o.device, "--data", o.data, "--run", str(self.work / name),
                    "--sequence-length", str(context), "--batch-tokens", str(o.batch_tokens),
                    "--steps", str(steps), "--warmup-steps", str(min(o.warmup_steps, steps // 5)),
                    "--eval-every", str(max(1, steps // evaluations)),
                    "--eval-tokens", str(o.eval_tokens), "--seed", str(o.seed),
                    "--learning-rate", *map(str, rates)]
        with open(self.output / f"{name}.log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            try:
                status = process.wait()
            except SystemExit:  # stopped: what there is may still be looked at
                process.kill()
                process.wait()
                if (self.work / name / "metrics.jsonl").exists():
                    self.keep(self.work / name, name, model, context, None, "unfinished")
                raise
        if status:
            self.say(f"{name}: ended with status {status}")
        return None if status else self.work / name

    def keep(self, run, name, model, context, rate, suffix="jsonl", file="metrics.jsonl"):
        """The metrics of a run under its name, with a first line about it; its last held-out loss."""
        lines = read_lines(run / file)
        settings = json.loads((run / "run.json").read_text())
        about = {"model": model, "context": context,
                 "learning_rate": rate or settings["learning_rate"],
                 "batch_tokens": self.o.batch_tokens, "settings": settings}
        parameters = settings.get("parameters") or count_parameters(run)
        if parameters:
            self.about["parameters"][model] = parameters
        (self.output / "about.json").write_text(json.dumps(self.about, indent=1) + "\n")
        text = "\n".join(json.dumps(line) for line in [about, *lines]) + "\n"
        (self.output / f"{name}.{suffix}").write_text(text)
        last = next((line for line in reversed(lines) if "held_out_loss" in line), None)
        if not last:
            return math.inf
        self.say(f"{name}: step {last['step']}, held-out loss {last['held_out_loss']:.4f}, "
                 f"{lines[-1]['tokens_per_second']} tokens/s")
        return last["held_out_loss"]

    def tnl(self, context):
        o, losses = self.o, {}
        for rate in o.tnl_rates if len(o.tnl_rates) > 1 else ():
            name = f"rate-tnl-{context}-{rate:g}"
            run = self.train(name, "tnl", context, [rate], o.trial_tokens // o.batch_tokens, 1)
            if run:
                losses[rate] = self.keep(run, name, "tnl", context, rate)
                shutil.rmtree(run)
        rate = min(losses, key=losses.get) if losses else o.tnl_rates[0]
        run = self.train(f"tnl-{context}", "tnl", context, [rate], o.tokens // o.batch_tokens,
                         o.evaluations)
        if run:
            self.keep(run, run.name, "tnl", context, rate)
            shutil.rmtree(run)

    def llama(self, context):
        """Its script tries the rates itself: it has to compile only once."""
        o = self.o
        run = self.train(f"llama-{context}", "llama", context, o.llama_rates,
                         o.tokens // o.batch_tokens, o.evaluations)
        if not run:
            return
        for trial in run.glob("trial-*.jsonl"):
            rate = trial.stem.split("-", 1)[1]
            self.keep(run, f"rate-llama-{context}-{rate}", "llama", context, float(rate),
                      file=trial.name)
        chosen = json.loads((run / "run.json").read_text())["learning_rate"]
        self.keep(run, run.name, "llama", context, chosen)

    def run(self):
        self.describe()
        for context in self.o.contexts:
            self.tnl(context)
            self.llama(context)
        shutil.rmtree(self.work)


def count_parameters(run):
    """From the header of the safetensors file of a run's model; None where there is none yet."""
    path = run / "model" / "model.safetensors"
    if not path.exists():
        return None
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items()
               if name != "__metadata__")


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(o):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    Runs(o).run()


def numbers(kind):
    return lambda text: [kind(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tnl", default=str(HERE.parent / "build" / "tnl"))
    commands = parser.add_subparsers(dest="command", required=True)
    packed = commands.add_parser("data", help="pack and join the texts")
    packed.add_argument("--train", nargs="+", required=True)
    packed.add_argument("--held-out", nargs="+", required=True)
    packed.add_argument("--separator", default="<|endoftext|>", help="between documents")
    packed.add_argument("--tokenizer", required=True)
    packed.add_argument("--multiple", type=int, default=32768, help="the longest context")
    packed.add_argument("-o", "--output", required=True)
    packed.set_defaults(call=data)
    runs = commands.add_parser("run", help="train")
    runs.add_argument("--data", required=True, help="what `data` made")
    runs.add_argument("--output", required=True)
    runs.add_argument("--device", default="cuda")
    runs.add_argument("--preset", default="44m", help="of tnl")
    runs.add_argument("--llama", default="", help="further arguments of torch_llama.py")
    runs.add_argument("--contexts", type=numbers(int), default=[4096, 512, 32768])
    runs.add_argument("--tokens", type=int, default=60_000_000, help="of each run")
    runs.add_argument("--batch-tokens", type=int, default=32768)
    runs.add_argument("--warmup-steps", type=int, default=100)
    runs.add_argument("--evaluations", type=int, default=12)
    runs.add_argument("--eval-tokens", type=int, default=1 << 19)
    runs.add_argument("--about-data", default="see the command", help="a few words for the page")
    runs.add_argument("--seed", type=int, default=1)
    runs.add_argument("--tnl-rates", type=numbers(float), default=[3e-3])
    runs.add_argument("--llama-rates", type=numbers(float), default=[3e-3])
    runs.add_argument("--trial-tokens", type=int, default=6_553_600,
                      help="of each learning rate tried, where there are several")
    runs.set_defaults(call=run)
    page = commands.add_parser("report", help="write the page and its pictures")
    page.add_argument("--results", required=True, help="the output of `run`")
    page.add_argument("--markdown", required=True, help="pictures are written beside it")
    page.add_argument("--notes", help="a file of text to end the page with")
    page.set_defaults(call=report)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
