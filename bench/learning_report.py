"""The page and the pictures of bench/learning.py: its `report`."""

import bisect
import json
import pathlib
import statistics
import subprocess
import tempfile

NAMES = {"tnl": "TransNormerLLM", "llama": "LLaMA"}


class Curve:
    """One run: its held-out loss against tokens and seconds of training."""

    def __init__(self, path):
        self.about, *self.lines = (json.loads(line) for line in path.read_text().splitlines())
        self.finished = path.suffix == ".jsonl"
        pace = statistics.median(line["tokens_per_second"] for line in self.lines)
        settled = False  # up to the first evaluation libraries choose and memory is taken
        tokens = seconds = 0
        self.tokens, self.seconds, self.nats = [], [], []
        for line in self.lines:
            if not settled:
                line["tokens_per_second"] = pace
            settled = settled or "held_out_loss" in line
            tokens += line["tokens"]
            seconds += line["tokens"] / line["tokens_per_second"]
            if "held_out_loss" in line:
                self.tokens.append(tokens)
                self.seconds.append(seconds)
                self.nats.append(line["held_out_loss"])

    def pace(self):
        return self.tokens[-1] / self.seconds[-1]

    def at_seconds(self, seconds):
        """Between evaluations by a straight line; None before the first and behind the last."""
        i = bisect.bisect_left(self.seconds, seconds * (1 - 1e-9))
        if i == 0 or i == len(self.seconds):
            return None
        share = (seconds - self.seconds[i - 1]) / (self.seconds[i] - self.seconds[i - 1])
        return self.nats[i - 1] + share * (self.nats[i] - self.nats[i - 1])

    def seconds_to(self, nats):
        for i, value in enumerate(self.nats):
            if value > nats:
                continue
            if i == 0:
                return self.seconds[0]
            share = (self.nats[i - 1] - nats) / (self.nats[i - 1] - value)
            return self.seconds[i - 1] + share * (self.seconds[i] - self.seconds[i - 1])
        return None


def bits_per_nat(curve):
    """Bits per byte for one nat per token on these tokens, which are the same for all."""
    line = next(line for line in reversed(curve.lines) if "held_out_bits_per_byte" in line)
    return line["held_out_bits_per_byte"] / line["held_out_loss"]


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def summary(pairs, parameters):
    rows = []
    for context, pair in pairs.items():
        factor = bits_per_nat(pair["tnl"])
        goal = pair["llama"].nats[-1]  # its last, where it was stopped too
        for model, curve in pair.items():
            reached = curve.seconds_to(goal)
            rows.append([f"{context:,}", NAMES[model], f"{parameters[model] / 1e6:.2f} M",
                         f"{curve.about['learning_rate']:g}", f"{curve.pace():,.0f}",
                         f"{curve.tokens[-1] / 1e6:.1f} M", f"{curve.seconds[-1]:.1f}",
                         f"{curve.nats[-1] * factor:.4f}",
                         f"{reached:.1f} s" if reached else "not reached"])
    return table(["context", "model", "parameters", "learning rate", "tokens/s", "tokens", "seconds",
                  "bits per byte", "time to LLaMA's last value"], rows)


def over_tokens(pairs):
    header = ["M tokens"] + [f"{NAMES[m]}, {c:,}" for c, pair in pairs.items() for m in pair]
    first = next(iter(pairs.values()))["tnl"]
    rows = []
    for i, tokens in enumerate(first.tokens):
        row = [f"{tokens / 1e6:.1f}"]
        for pair in pairs.values():
            factor = bits_per_nat(pair["tnl"])
            row += [f"{curve.nats[i] * factor:.4f}" if i < len(curve.nats) else ""
                    for curve in pair.values()]
        rows.append(row)
    return table(header, rows)


def over_seconds(pairs):
    rows = []
    for context, pair in pairs.items():
        factor = bits_per_nat(pair["tnl"])
        for share in (0.25, 0.5, 0.75, 1):
            seconds = share * pair["tnl"].seconds[-1]
            values = [curve.at_seconds(seconds) for curve in pair.values()]
            rows.append([f"{context:,}", f"{seconds:.1f}"] +
                        [f"{v * factor:.4f}" if v else "" for v in values])
    return table(["context", "seconds"] + [NAMES[model] for model in ("tnl", "llama")], rows)


def rates_tried(results):
    curves = [Curve(path) for path in sorted(results.glob("rate-*.jsonl"))]
    if not curves:
        return []
    factor = bits_per_nat(next(c for c in curves if c.about["model"] == "tnl"))
    curves.sort(key=lambda c: (c.about["context"], c.about["model"] != "tnl",
                               c.about["learning_rate"]))
    rows = [[f"{c.about['context']:,}", NAMES[c.about["model"]], f"{c.about['learning_rate']:g}",
             f"{c.nats[-1] * factor:.4f}"] for c in curves]
    return ["## Learning rates tried", "",
            f"With {curves[0].tokens[-1] / 1e6:.1f} M tokens and the whole schedule.", "",
            *table(["context", "model", "learning rate", "bits per byte"], rows)]


def draw(tnl, pairs, folder):
    """A picture over tokens and one over seconds for each context; their names."""
    pictures = []
    for context, pair in pairs.items():
        factor = bits_per_nat(pair["tnl"])
        with tempfile.TemporaryDirectory() as work:
            runs = []
            for model, curve in pair.items():
                run = pathlib.Path(work) / NAMES[model]
                run.mkdir()
                runs.append(str(run))
                with open(run / "metrics.jsonl", "w") as metrics:
                    for line in curve.lines:
                        if "held_out_loss" in line:
                            line["held_out_bits_per_byte"] = line["held_out_loss"] * factor
                        metrics.write(json.dumps(line) + "\n")
            for over in ("tokens", "seconds"):
                name = f"learning_{context}_{over}.svg"
                subprocess.run([tnl, "plot", *runs, "--over", over, "--held-out-only", "--title",
                                f"Held-out loss, context {context:,}", "--output",
                                str(folder / name)], check=True, stdout=subprocess.DEVNULL)
                pictures.append((context, over, name))
    return pictures


def verdict(pairs):
    lines = []
    for context, pair in pairs.items():
        ours, theirs = pair["tnl"], pair["llama"]
        factor = bits_per_nat(ours)
        last = min(len(ours.nats), len(theirs.nats)) - 1
        gap = (ours.nats[last] - theirs.nats[last]) * factor
        text = (f"- Context {context:,}: after {ours.tokens[last] / 1e6:.1f} M tokens TransNormerLLM is "
                f"at {ours.nats[last] * factor:.4f} bits per byte, LLaMA at "
                f"{theirs.nats[last] * factor:.4f} ({gap:+.4f}); tokens/s "
                f"{ours.pace() / theirs.pace():.2f} times LLaMA's.")
        if not theirs.finished:
            text += " LLaMA was stopped there, out of time."
        then = theirs.at_seconds(ours.seconds[-1])
        if then:
            text += (f" When TransNormerLLM has finished, LLaMA is at {then * factor:.4f} "
                     f"({(ours.nats[-1] - then) * factor:+.4f}).")
        lines.append(text)
    return lines + [""]


def find(results, name):
    """The finished run, or what there is of it."""
    whole = results / f"{name}.jsonl"
    return whole if whole.exists() else results / f"{name}.unfinished"


def report(o):
    results, markdown = pathlib.Path(o.results), pathlib.Path(o.markdown)
    contexts = sorted(int(p.stem.split("-")[1]) for p in results.glob("tnl-*.jsonl")
                      if list(results.glob(f"llama-{p.stem.split('-')[1]}.*")))
    if not contexts:
        raise SystemExit(f"{results}: found no context that both models were trained at")
    pairs = {c: {m: Curve(find(results, f"{m}-{c}")) for m in NAMES} for c in contexts}
    about = json.loads((results / "about.json").read_text())
    pictures = draw(o.tnl, pairs, markdown.parent)
    first = pairs[contexts[0]]["tnl"]
    lines = [
        "# Learning curves", "",
        f"Written by `bench/learning.py` on one {about['device']}, {about['date']}, PyTorch "
        f"{about['torch']}. TransNormerLLM by `tnl train` (preset {about['preset']} with the "
        "vocabulary of the data) and a LLaMA in PyTorch (`bench/torch_llama.py`: RMSNorm, RoPE, SwiGLU, "
        "softmax attention by cuDNN, torch.compile), both in bf16 with fp32 master weights.", "",
        f"Data: {about['data']}. Every run takes {first.tokens[-1] / 1e6:.1f} M tokens in steps of "
        f"{first.about['batch_tokens']:,}; the batches of both are the same token for token. AdamW "
        "(0.9, 0.95, 1e-8), weight decay 0.1 on all matrices but the embedding, clipping at 1, "
        f"{about['warmup_steps']} steps of warm-up, cosine to a tenth. Held-out: the first "
        f"{about['eval_tokens']:,} tokens of other books, in sequences of the context's length, bits "
        "per byte by the same bytes. Seconds are those of training steps; evaluation, compilation and "
        "set-up are not counted: the steps up to the first evaluation count as the median step.", "",
        *verdict(pairs), *summary(pairs, about["parameters"])]
    for context, over, name in pictures:
        lines.append(f"![held-out loss over {over}, context {context:,}]({name})")
    lines += ["", "## Bits per byte over tokens", "", *over_tokens(pairs),
              "## Bits per byte over seconds", "",
              "Between evaluations by a straight line.", "", *over_seconds(pairs),
              *rates_tried(results)]
    if o.notes:
        lines += [pathlib.Path(o.notes).read_text().rstrip(), ""]
    markdown.write_text("\n".join(lines).rstrip() + "\n")
