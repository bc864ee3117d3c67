#!/usr/bin/env python3
"""Trains a LLaMA (RMSNorm, RoPE, SwiGLU, softmax attention) in PyTorch on the batches of `tnl train`:
the other side of bench/learning.py.

    bench/torch_llama.py --data joined --run runs/llama --sequence-length 4096 --steps 1000 ...

The data must yield whole sequences only (bench/token_data.py join). bf16 autocast over fp32 weights,
torch.compile, fused AdamW, the schedule of `tnl train`. RUN/metrics.jsonl gets the lines `tnl train`
writes. Seconds are those of training alone: compilation happens on the first batches before the first
step, after which the weights are put back; evaluation is not counted. Several learning rates are tried
for --trial-steps each, with the whole schedule, and the one with the lowest held-out loss is taken.
"""

import argparse
import contextlib
import json
import math
import pathlib
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import token_data

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}


class Attention(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.heads, self.backend = o.heads, BACKENDS.get(o.attention)
        self.qkv = nn.Linear(o.width, 3 * o.width, bias=False)
        self.output = nn.Linear(o.width, o.width, bias=False)

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2)
                   for t in self.qkv(x).chunk(3, -1))
        q, k = (rotate(t, cos, sin) for t in (q, k))
        with sdpa_kernel(self.backend) if self.backend else contextlib.nullcontext():
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(o.transpose(1, 2).reshape(batch, length, width))


def rotate(t, cos, sin):
    a, b = t.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(t.dtype)


class SwiGlu(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.inputs = nn.Linear(o.width, 2 * o.glu, bias=False)
        self.output = nn.Linear(o.glu, o.width, bias=False)

    def forward(self, x):
        gate, value = self.inputs(x).chunk(2, -1)
        return self.output(F.silu(gate) * value)


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return (F.rms_norm(x.float(), self.weight.shape, eps=1e-6) * self.weight).to(x.dtype)


class Llama(nn.Module):
    """forward: the sum of the losses in nats, of targets that are not negative."""

    def __init__(self, o, vocab_size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, o.width)  # and the head
        self.attention = nn.ModuleList(Attention(o) for _ in range(o.layers))
        self.glu = nn.ModuleList(SwiGlu(o) for _ in range(o.layers))
        self.norms = nn.ModuleList(Norm(o.width) for _ in range(2 * o.layers + 1))
        half = o.width // o.heads // 2
        angle = (torch.arange(o.sequence_length)[:, None]
                 * 10000.0 ** (-torch.arange(half) / half)[None])
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                scale = (2 * o.layers) ** -0.5 if name.endswith("output.weight") else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)

    def forward(self, tokens, targets):
        x = self.embedding(tokens).to(torch.bfloat16)  # as the residual stream of tnl
        for i, (attention, glu) in enumerate(zip(self.attention, self.glu)):
            x = x + attention(self.norms[2 * i](x), self.cos, self.sin)
            x = x + glu(self.norms[2 * i + 1](x))
        logits = F.linear(self.norms[-1](x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1,
                               reduction="sum")


class Data:
    """A split in the memory of the device; batches are gathered there."""

    def __init__(self, dataset, split, o):
        shards = dataset.shards(split)
        if len(shards) != 1 or len(shards[0].offsets) != 2:
            raise SystemExit(f"{o.data}: expected one document a split (bench/token_data.py join)")
        raw = bytearray(shards[0].tokens.cast("B"))
        dtype = torch.uint16 if shards[0].tokens.itemsize == 2 else torch.int32
        tokens = torch.frombuffer(raw, dtype=dtype).to(torch.int32)
        self.tokens = torch.cat((tokens, torch.tensor([-1], dtype=torch.int32))).to(o.device)
        self.batches = token_data.Batches(shards, o.sequence_length, o.batch_tokens, o.seed,
                                          once=split == "heldout")
        self.steps = torch.arange(o.sequence_length + 1, device=o.device)
        self.length = o.sequence_length

    def __iter__(self):
        for batch in self.batches:
            if any(count != self.length for _, _, count, _ in batch):
                raise SystemExit(f"found a sequence that is not of {self.length} tokens")
            begins = torch.tensor([begin for _, begin, _, _ in batch])
            if self.tokens.is_cuda:
                begins = begins.pin_memory().to(self.tokens.device, non_blocking=True)
            places = begins[:, None] + self.steps
            window = self.tokens[places].long()
            yield window[:, :-1], window[:, 1:]


def learning_rate_at(highest, step, steps, warmup_steps):
    if step <= warmup_steps:
        return highest * step / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    low = 0.1 * highest
    return low + (highest - low) * 0.5 * (1 + math.cos(math.pi * done))


class Run:
    def __init__(self, o):
        self.o = o
        dataset = token_data.Dataset(o.data)
        self.train, self.held_out = (Data(dataset, split, o) for split in token_data.SPLITS)
        torch.manual_seed(o.seed)
        self.model = Llama(o, dataset.vocab_size).to(o.device)
        self.compiled = torch.compile(self.model) if o.compile else self.model
        self.initial = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimizer = self.make_optimizer()

    def make_optimizer(self):
        decayed = [p for n, p in self.model.named_parameters() if p.dim() == 2 and "embed" not in n]
        others = [p for n, p in self.model.named_parameters() if p.dim() != 2 or "embed" in n]
        return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1},
                                  {"params": others, "weight_decay": 0.0}],
                                 lr=0.0, betas=(0.9, 0.95), eps=1e-8, fused=True)

    @torch.no_grad()
    def reset(self):
        """Weights and optimiser as they were at first."""
        for name, p in self.model.named_parameters():
            p.copy_(self.initial[name])
        self.optimizer = self.make_optimizer()

    def loss(self, tokens, targets):
        with torch.autocast(self.o.device, torch.bfloat16):
            return self.compiled(tokens, targets)

    def step(self, tokens, targets, learning_rate):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self.loss(tokens, targets) / tokens.numel()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.stack((loss.detach(), norm.detach()))

    @torch.no_grad()
    def evaluate(self, most=None):
        total, count = 0.0, 0
        for tokens, targets in self.held_out:
            total += self.loss(tokens, targets).double()
            count += tokens.numel()
            if count >= (most or self.o.eval_tokens):
                break
        return float(total) / count

    def synchronize(self):
        if self.o.device == "cuda":
            torch.cuda.synchronize()

    def warm_up(self):
        """Compiles and lets libraries choose, on batches as the run has them."""
        start = time.perf_counter()
        for _, batch in zip(range(3), self.train):
            self.step(*batch, 1e-4)
        self.evaluate(1)
        self.reset()
        self.synchronize()
        return time.perf_counter() - start

    def train_steps(self, path, highest, steps, eval_every):
        """From the first weights; lines of metrics go to `path`. The last held-out loss."""
        o = self.o
        self.reset()
        seconds, waiting, held_out = 0.0, [], math.nan
        warmup_steps = min(o.warmup_steps, steps // 5)
        with open(path, "w") as metrics:
            batches = iter(self.train)
            self.synchronize()
            start = time.perf_counter()
            for step in range(1, steps + 1):
                rate = learning_rate_at(highest, step, steps, warmup_steps)
                waiting.append((step, rate, self.step(*next(batches), rate)))
                if step % eval_every and step != steps:
                    continue
                self.synchronize()
                stretch = time.perf_counter() - start
                held_out = self.evaluate()
                self.write(metrics, waiting, stretch, seconds, held_out)
                seconds, waiting = seconds + stretch, []
                self.synchronize()
                start = time.perf_counter()
        return held_out

    def write(self, metrics, waiting, stretch, seconds, held_out):
        pace = len(waiting) * self.o.batch_tokens / stretch
        numbers = torch.stack([row for _, _, row in waiting]).tolist()
        for i, ((step, rate, _), (loss, norm)) in enumerate(zip(waiting, numbers)):
            line = {"step": step, "tokens": self.o.batch_tokens, "loss": loss,
                    "learning_rate": rate, "gradient_norm": norm,
                    "tokens_per_second": round(pace),
                    "seconds": round(seconds + stretch * (i + 1) / len(waiting), 3)}
            if i + 1 == len(waiting):
                line["held_out_loss"] = held_out
                print(f"step {step}: held-out loss {held_out:.4f}, training {loss:.4f}, "
                      f"{pace:.0f} tokens/s", flush=True)
            metrics.write(json.dumps(line) + "\n")
        metrics.flush()

    def best_rate(self, directory):
        o = self.o
        if len(o.learning_rate) == 1:
            return o.learning_rate[0]
        tried = {}
        for rate in o.learning_rate:
            print(f"trial of {rate:g}", flush=True)
            path = directory / f"trial-{rate:g}.jsonl"
            tried[rate] = self.train_steps(path, rate, o.trial_steps, o.trial_steps)
        return min(tried, key=lambda rate: tried[rate] if tried[rate] == tried[rate] else math.inf)

    def run(self):
        o = self.o
        directory = pathlib.Path(o.run)
        directory.mkdir(parents=True, exist_ok=False)
        about = {"parameters": sum(p.numel() for p in self.model.parameters()),
                 "torch": torch.__version__, "compile_seconds": round(self.warm_up(), 1), **vars(o)}
        print(f"{about['parameters'] / 1e6:.2f}M parameters, compiled in "
              f"{about['compile_seconds']} s", flush=True)
        about["learning_rate"] = self.best_rate(directory)
        (directory / "run.json").write_text(json.dumps(about, indent=1) + "\n")
        self.train_steps(directory / "metrics.jsonl", about["learning_rate"], o.steps, o.eval_every)
        if o.device == "cuda":
            print(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", required=True, help="a new directory")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-tokens", type=int, default=32768)
    parser.add_argument("--sequence-length", type=int, default=4096)
    parser.add_argument("--learning-rate", type=float, nargs="+", default=[2e-3])
    parser.add_argument("--trial-steps", type=int, default=200)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--eval-every", type=int, default=100)
    parser.add_argument("--eval-tokens", type=int, default=1 << 20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--glu", type=int, default=1344)
    parser.add_argument("--attention", choices=("cudnn", "flash", "auto"), default="cudnn")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    o = parser.parse_args()
    if o.batch_tokens % o.sequence_length:
        raise SystemExit("--batch-tokens must be a multiple of --sequence-length")
    Run(o).run()


if __name__ == "__main__":
    main()
