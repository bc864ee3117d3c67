#!/usr/bin/env python3
"""Learning curves of TransNormerLLM trained by `tnl train` and of a LLaMA of the same size in PyTorch
(bench/torch_llama.py), on the very same batches, at several contexts. Three steps:

    bench/learning.py data --train books_*.txt.zst --held-out valid.txt.zst --tokenizer FILE -o joined
    bench/learning.py run --data joined --output results --contexts 4096,512,32768
    bench/learning.py report --results results --markdown docs/benchmarks/learning.md

`run` tries some learning rates for both at the first context, briefly and all at once on the GPU, then
trains each with its best one at every context, one run after the other with the GPU to itself. What is
done lies in the output directory at once: a run that is cut off loses only what it had not finished.
"""

import argparse
import datetime
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from learning_report import report

HERE = pathlib.Path(__file__).resolve().parent
MODELS = ("tnl", "llama")


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

    def start(self, name, model, context, rate, steps, evaluations):
        o = self.o
        every = max(1, steps // evaluations)
        command = ([o.tnl, "train", "--preset", o.preset, "--checkpoint-every", "0"]
                   if model == "tnl" else
                   [sys.executable, HERE / "torch_llama.py", *o.llama.split()])
        command += ["--device", o.device, "--data", o.data, "--run", str(self.work / name),
                    "--sequence-length", str(context), "--batch-tokens", str(o.batch_tokens),
                    "--steps", str(steps), "--learning-rate", str(rate),
                    "--warmup-steps", str(min(o.warmup_steps, steps // 5)),
                    "--eval-every", str(every), "--eval-tokens", str(o.eval_tokens),
                    "--seed", str(o.seed)]
        log = open(self.output / f"{name}.log", "w")
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def keep(self, name, model, context, rate):
        """metrics.jsonl under the run's name, with a first line about it."""
        run = self.work / name
        lines = read_lines(run / "metrics.jsonl")
        settings = json.loads((run / "run.json").read_text())
        about = {"model": model, "context": context, "learning_rate": rate,
                 "batch_tokens": self.o.batch_tokens, "settings": settings}
        self.about["parameters"][model] = settings.get("parameters") or count_parameters(run)
        (self.output / "about.json").write_text(json.dumps(self.about, indent=1) + "\n")
        text = "\n".join(json.dumps(line) for line in [about, *lines]) + "\n"
        (self.output / f"{name}.jsonl").write_text(text)
        shutil.rmtree(run)
        last = [line for line in lines if "held_out_loss" in line][-1]
        self.say(f"{name}: step {last['step']}, held-out loss {last['held_out_loss']:.4f}, "
                 f"{lines[-1]['tokens_per_second']} tokens/s")
        return last["held_out_loss"]

    def sweep(self, context):
        """The best rate of each model; prepares what PyTorch compiles for the other contexts."""
        o = self.o
        steps = o.sweep_tokens // o.batch_tokens
        going = {}
        for model, rates in zip(MODELS, (o.tnl_rates, o.llama_rates)):
            for rate in rates:
                name = f"rate-{model}-{context}-{rate:g}"
                going[model, rate] = name, self.start(name, model, context, rate, steps, 1)
        others = [self.start(f"compile-{c}", "llama", c, 1e-4, 1, 1) for c in o.contexts[1:]]
        best = {}
        for (model, rate), (name, process) in going.items():
            if process.wait():
                self.say(f"{name}: ended with status {process.returncode}")
                continue
            loss = self.keep(name, model, context, rate)
            if model not in best or loss < best[model][0]:
                best[model] = loss, rate
        for process in others:
            process.wait()
        return {model: best[model][1] if model in best else rates[0]
                for model, rates in zip(MODELS, (o.tnl_rates, o.llama_rates))}

    def run(self):
        o = self.o
        self.describe()
        rates = {"tnl": o.tnl_rates[0], "llama": o.llama_rates[0]}
        if o.sweep_tokens:
            rates = self.sweep(o.contexts[0])
            self.say(f"learning rates: {rates}")
        for context in o.contexts:
            for model in MODELS:
                name = f"{model}-{context}"
                self.say(name)
                process = self.start(name, model, context, rates[model],
                                     o.tokens // o.batch_tokens, o.evaluations)
                if process.wait():
                    self.say(f"{name}: ended with status {process.returncode}")
                else:
                    self.keep(name, model, context, rates[model])
        shutil.rmtree(self.work)


def count_parameters(run):
    """From the header of the safetensors file of a run's model."""
    with open(run / "model" / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items()
               if name != "__metadata__")


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


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
    runs.add_argument("--sweep-tokens", type=int, default=0,
                      help="of each learning rate tried at the first context; 0: take the first")
    runs.set_defaults(call=lambda o: Runs(o).run())
    page = commands.add_parser("report", help="write the page and its pictures")
    page.add_argument("--results", required=True, help="the output of `run`")
    page.add_argument("--markdown", required=True, help="pictures are written beside it")
    page.add_argument("--notes", help="a file of text to end the page with")
    page.set_defaults(call=report)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
