#!/usr/bin/env python3
"""What a call of tnl's operator from PyTorch costs the host and the GPU beyond the bare kernel.

    bench/pytorch_host.py [--cpu]

All for a small problem, in calls that nothing waits for: everything that is done before the call
returns, while the GPU works on its own. The bare kernel is the same call of the C++ library with plan
and memory at hand: launches and no more.

A backward pass is measured twice. In a row: passes through 32 and through 64 calls one behind the
other, the difference for one call, as a model has it. Alone: torch.autograd.grad through one call, where
autograd wakes a thread for the GPU and waits for it. Since any function costs that, one that does
nothing stands beside it, and PyTorch's own softmax attention.
"""

import argparse
import statistics
import time

import peer_operators
import torch
from torch.nn.functional import scaled_dot_product_attention

import tnl.ops
from tnl import _core

SMALL = (2, 256, 8, 64)
ROW = 32


def finished():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def microseconds(call, calls=200, rounds=15):
    """Few enough calls that the GPU's queue never fills; the best round, as other programs of the
    machine only ever add."""
    times = []
    for _ in range(rounds):
        for _ in range(max(calls // 10, 1)):
            call()
        finished()
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - begin) / calls * 1e6)
    finished()
    return min(times)


class Nothing(torch.autograd.Function):
    """What PyTorch itself takes for a function of three tensors that somebody else wrote."""

    @staticmethod
    def forward(ctx, q, k, v):
        ctx.save_for_backward(q, k, v)
        return torch.empty_like(v)

    @staticmethod
    def backward(ctx, d_o):
        return ctx.saved_tensors


def row_of(call, leaves, count):
    """The output of `count` calls, each taking the one before as q."""
    q, k, v = leaves
    for _ in range(count):
        q = call(q, k, v)
    return q


def backward_in_a_row(call, leaves, d_o):
    def whole(count):
        o = row_of(call, leaves, count)
        return microseconds(
            lambda: torch.autograd.grad(o, leaves[0], d_o, retain_graph=True), calls=4
        )

    return (whole(2 * ROW) - whole(ROW)) / ROW


def backward_alone(call, leaves, d_o):
    o = call(*leaves)
    return microseconds(lambda: torch.autograd.grad(o, leaves, d_o, retain_graph=True))


class Bench:
    def __init__(self, shape, device, dtype):
        torch.manual_seed(0)
        self.inputs = [torch.randn(*shape, device=device, dtype=dtype) for _ in range(4)]
        self.leaves = [x.clone().requires_grad_() for x in self.inputs[:3]]
        self.decay = -peer_operators.first_layer_slopes(shape[2], "cpu")
        self.settings = _core.AttentionSettings(self.decay, 1.0, None, False)
        # Softmax attention takes [B, H, T, D]; the numbers are the same.
        self.by_head = [x.transpose(1, 2).contiguous() for x in self.inputs]

    def ours(self, q, k, v):
        return tnl.lightning_attention(q, k, v, self.decay)[0]

    def bare(self):
        q, k, v, d_o = self.inputs
        calls = (
            lambda: _core.bare_forward(self.settings, q, k, v, 200),
            lambda: _core.bare_backward(self.settings, d_o, q, k, v, 200),
        )
        times = []
        for call in calls:
            best = []
            for _ in range(15):
                finished()
                best.append(call() * 1e6)
            times.append(min(best))
        return times

    def within(self):
        """The module's own calls: tensors read, memory made, plan found, kernel launched."""
        q, k, v, d_o = self.inputs
        return (
            microseconds(lambda: _core.attention_forward(self.settings, q, k, v, None, False)),
            microseconds(
                lambda: _core.attention_backward(self.settings, d_o, None, q, k, v, None)
            ),
        )

    def times(self, call, by_head=False):
        inputs = self.by_head if by_head else self.inputs
        leaves = [x.clone().requires_grad_() for x in inputs[:3]]
        d_o = inputs[3]
        with torch.no_grad():
            without = microseconds(lambda: call(*inputs[:3]))
        return (
            without,
            microseconds(lambda: call(*leaves)),
            backward_in_a_row(call, leaves, d_o),
            backward_alone(call, leaves, d_o),
        )

    def in_the_thread(self):
        """Of a backward pass alone: until autograd's thread has begun, within it, until the caller
        goes on; and the bare kernel in that thread. Medians, us."""
        stamps, bare = [], []
        settings = self.settings

        class Stamped(Nothing):
            @staticmethod
            def backward(ctx, d_o):
                q, k, v = ctx.saved_tensors
                begin = time.perf_counter()
                gradients = _core.attention_backward(settings, d_o, None, q, k, v, None)
                stamps.append((begin, time.perf_counter()))
                return gradients[:3]

        class Bare(Nothing):
            @staticmethod
            def backward(ctx, d_o):
                q, k, v = ctx.saved_tensors
                bare.append(_core.bare_backward(settings, d_o, q, k, v, 1) * 1e6)
                return q, k, v

        parts = []
        for function in (Stamped, Bare):
            o = function.apply(*self.leaves)
            for _ in range(300):
                begin = time.perf_counter()
                torch.autograd.grad(o, self.leaves, self.inputs[3], retain_graph=True)
                end = time.perf_counter()
                if function is Stamped:
                    entered, left = stamps[-1]
                    parts.append((entered - begin, left - entered, end - left))
            finished()
        return [statistics.median(x) * 1e6 for x in zip(*parts)] + [statistics.median(bare)]

    def on_the_gpu(self):
        """Time of the GPU for one call in a row with the host far ahead: the operator's forward and
        backward, the bare kernel's."""
        q, k, v, d_o = self.inputs
        o = row_of(self.ours, self.leaves, ROW)
        works = (
            lambda: row_of(self.ours, self.leaves, ROW),
            lambda: torch.autograd.grad(o, self.leaves[0], d_o, retain_graph=True),
            lambda: _core.bare_forward(self.settings, q, k, v, ROW),
            lambda: _core.bare_backward(self.settings, d_o, q, k, v, ROW),
        )
        import peers

        flush = torch.ones(1024, dtype=torch.int32, device="cuda")
        return [peers.seconds(work, 15, flush) / ROW * 1e6 for work in works]


def report(shape=SMALL, device="cuda", dtype=torch.bfloat16):
    """Lines of Markdown."""
    bench = Bench(shape, device, dtype)

    def row(name, *times):
        return f"| {name} | " + " | ".join("" if t is None else f"{t:.1f}" for t in times) + " |"

    text = "x".join(map(str, shape))
    yield from (
        f"Time of the host for one call of {text}, us: all that is done before the call returns "
        f"(`bench/pytorch_host.py`). In a row: passes through {ROW} and {2 * ROW} calls one behind "
        "the other, the difference for one call. Alone: torch.autograd.grad through one call, where "
        "autograd wakes a thread of its own and waits for it.",
        "",
        "| | forward, no_grad | forward with autograd | backward, in a row | backward, alone |",
        "|---|---|---|---|---|",
    )
    ours = bench.times(bench.ours)
    yield row("tnl", *ours)
    forward, backward = bench.bare()
    bare = (forward, forward, backward, backward)
    yield row("the bare kernel: tnl's C++ call", *bare)
    yield row("**tnl beyond it**", *(t - b for t, b in zip(ours, bare)))
    nothing = bench.times(Nothing.apply)
    yield row("an autograd.Function that does nothing", *nothing)
    yield row("**tnl beyond the bare kernel and that**", None, None, *(
        t - b - n for t, b, n in zip(ours[2:], bare[2:], nothing[2:])))
    softmax = bench.times(lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True),
                          by_head=True)
    yield row("PyTorch's softmax attention, its kernels' launches included", *softmax)
    forward, backward = bench.within()
    yield row("of tnl: the extension module's call", forward, None, backward, None)
    if device != "cuda":
        return
    with torch.autograd.set_multithreading_enabled(False):
        yield row("tnl, backward in the caller's thread", None, None,
                  backward_in_a_row(bench.ours, bench.leaves, bench.inputs[3]),
                  backward_alone(bench.ours, bench.leaves, bench.inputs[3]))
        yield row("nothing, backward in the caller's thread", None, None,
                  backward_in_a_row(Nothing.apply, bench.leaves, bench.inputs[3]),
                  backward_alone(Nothing.apply, bench.leaves, bench.inputs[3]))
    before, within, after, bare_there = bench.in_the_thread()
    yield from (
        "",
        f"A backward pass alone, medians: {before:.1f} us until autograd's thread has begun, "
        f"{within:.1f} in it for the extension module's call ({bare_there:.1f} for the bare kernel's "
        f"when it is called there), {after:.1f} until the caller goes on.",
        "",
        "Time of the GPU for one call in a row, the host far ahead, us: "
        + "; ".join(f"{name} {time_:.1f}" for name, time_ in zip(
            ("forward with autograd", "backward", "the bare kernel forward",
             "the bare kernel backward"), bench.on_the_gpu()))
        + ".",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="of calls on the CPU, for 1x1x2x8")
    options = parser.parse_args()
    if options.cpu:
        torch.set_num_threads(1)
    for line in report((1, 1, 2, 8), "cpu", torch.float32) if options.cpu else report():
        print(line, flush=True)


if __name__ == "__main__":
    main()
