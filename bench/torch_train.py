#!/usr/bin/env python3
"""Training steps of TransNormerLLM in eager PyTorch on the CPU, lightning attention in its chunked
form: what `tnl bench train` is compared with. Same shapes, same operations, fp32, AdamW.

    bench/torch_train.py [--threads 2] [--batch 8] [--length 512] [--chunk 64]

Reads numbers of steps from its input, line by line, and answers each with the seconds of every
step as JSON, so that a caller can run the two in turns. The first answer is the number of
parameters. tools/install_torch_cpu.py puts PyTorch into an environment to run it in.
"""

import argparse
import json
import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

# The preset 6m: src/model/presets.cc.
WIDTH, LAYERS, HEADS, GLU, VOCABULARY = 256, 6, 4, 704, 4096


def srmsnorm(x):
    return F.rms_norm(x, (x.shape[-1],), eps=1e-6)


def chunked_attention(q, k, v, log_decay, chunk):
    """q, k [B, H, T, K], v [B, H, T, V], log_decay [H]; T a multiple of the chunk. All products
    within chunks at once, then the states one chunk after the other."""
    batch, heads, length, width = q.shape
    count = length // chunk
    q, k, v = (x.reshape(batch, heads, count, chunk, -1) for x in (q, k, v))
    i = torch.arange(chunk)
    distance = i[:, None] - i[None, :]
    slope = log_decay[:, None, None]
    mask = torch.where(distance >= 0, torch.exp(slope * distance.clamp(min=0)), torch.zeros(()))
    inner = (q @ k.transpose(-1, -2) * mask[None, :, None]) @ v
    to_end = torch.exp(log_decay[:, None] * (chunk - 1 - i))[None, :, None, :, None]
    gains = (k * to_end).transpose(-1, -2) @ v  # [B, H, count, K, V]
    chunk_decay = torch.exp(log_decay * chunk)[None, :, None, None]
    state = torch.zeros_like(gains[:, :, 0])
    states = []
    for n in range(count):
        states.append(state)
        state = state * chunk_decay + gains[:, :, n]
    from_start = torch.exp(log_decay[:, None] * (i + 1))[None, :, None, :, None]
    outer = (q * from_start) @ torch.stack(states, 2)
    return (inner + outer).reshape(batch, heads, length, -1)


class TokenMixer(nn.Module):
    def __init__(self, layer, chunk):
        super().__init__()
        self.projection = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.output = nn.Linear(WIDTH, WIDTH, bias=False)
        self.chunk = chunk
        slopes = [2 ** (-8 * (h + 1) / HEADS) * (1 - layer / (LAYERS - 1) + 1e-5)
                  for h in range(HEADS)]
        self.register_buffer("log_decay", -torch.tensor(slopes))
        head = WIDTH // HEADS
        if layer == 0:  # LRPE
            exponents = torch.arange(WIDTH) / WIDTH
            self.theta = nn.Parameter((10000 ** (-2 * exponents)).view(HEADS, 1, head))
        else:
            self.theta = None

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v, u = self.projection(x).chunk(4, -1)
        q, k = F.silu(q), F.silu(k)
        q, k, v = (t.view(batch, length, HEADS, -1).transpose(1, 2) for t in (q, k, v))
        if self.theta is not None:
            angle = self.theta * torch.arange(length)[None, :, None]
            cos, sin = angle.cos(), angle.sin()
            q = torch.cat((q * cos, q * sin), -1)
            k = torch.cat((k * cos, k * sin), -1)
        o = chunked_attention(q, k, v, self.log_decay, self.chunk)
        return self.output(srmsnorm(o.transpose(1, 2).reshape(batch, length, WIDTH)) * u)


class ChannelMixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs = nn.Linear(WIDTH, 2 * GLU, bias=False)
        self.output = nn.Linear(GLU, WIDTH, bias=False)

    def forward(self, x):
        a, b = self.inputs(x).chunk(2, -1)
        return self.output(a * b)


class Model(nn.Module):
    def __init__(self, chunk):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)  # and the head
        self.token = nn.ModuleList(TokenMixer(layer, chunk) for layer in range(LAYERS))
        self.channel = nn.ModuleList(ChannelMixer() for _ in range(LAYERS))

    def forward(self, ids, targets):
        x = self.embedding(ids) * math.sqrt(WIDTH)
        for token, channel in zip(self.token, self.channel):
            x = x + token(srmsnorm(x))
            x = x + channel(srmsnorm(x))
        logits = srmsnorm(x) @ self.embedding.weight.t()
        return F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--chunk", type=int, default=64, help="tokens of a chunk of the operator")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    model = Model(arguments.chunk)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    shape = (arguments.batch, arguments.length)
    ids, targets = (torch.randint(0, VOCABULARY, shape) for _ in range(2))

    def step():
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(ids, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return time.perf_counter() - start

    print(json.dumps({"torch": torch.__version__,
                      "parameters": sum(p.numel() for p in model.parameters())}), flush=True)
    for line in sys.stdin:
        print(json.dumps([step() for _ in range(int(line))]), flush=True)


if __name__ == "__main__":
    main()
