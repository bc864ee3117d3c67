#!/usr/bin/env python3
"""Times tnl's operator called from PyTorch on one GPU beside fla's, and what a call costs the host.

    PYTHONPATH=FLA_CHECKOUT python bench/pytorch_attention.py [--markdown FILE] [--shapes BxTxHxD,...]

Times are medians of events around one call with a cold L2 (flushed by reading). The floor is every
input read once and every output written once, at the copy bandwidth of the same run.
"""

import argparse
import datetime
import statistics
import time

import torch

import tnl

SHAPES = (
    "16x2048x16x128,4x8192x16x128,1x32768x16x128,1x131072x16x128,1x524288x16x128,"
    "8x4096x16x64,4x8192x32x64"
)
FLUSH_BYTES = 256 << 20


def milliseconds(call, repetitions):
    flush = torch.ones(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    times = []
    for i in range(repetitions + 3):
        flush.sum()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        # The host runs ahead of the flush, so that its own time stays out of the figure.
        torch.cuda._sleep(2_000_000)
        begin.record()
        call()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def copy_gigabytes_per_second():
    x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    return 2 * x.numel() / milliseconds(lambda: y.copy_(x), 9) / 1e6


def host_microseconds(call, calls=300):
    for _ in range(20):
        call()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    end = time.perf_counter()  # the queue is deep enough not to wait for the GPU
    torch.cuda.synchronize()
    return (end - begin) / calls * 1e6, (time.perf_counter() - begin) / calls * 1e6


def slopes(heads):
    return torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)])


def operators():
    found = {"tnl": lambda q, k, v, s: tnl.lightning_attention(q, k, v, -s)[0]}
    try:
        from fla.ops.simple_gla import chunk_simple_gla

        kept = {}

        def fla(q, k, v, s):
            gamma = kept.setdefault(q.shape[2], -s.cuda())
            return chunk_simple_gla(q, k, v, g_gamma=gamma, scale=1.0)[0]

        found["fla"] = fla
    except ImportError as error:
        print(f"fla is left out: {error}")
    return found


def inputs(B, T, H, D):
    generator = torch.Generator("cuda").manual_seed(0)
    return [
        torch.randn(B, T, H, D, device="cuda", dtype=torch.bfloat16, generator=generator)
        for _ in range(4)
    ]


def time_shape(name, call, shape, repetitions):
    q, k, v, d_o = inputs(*shape)
    s = slopes(shape[2])
    with torch.no_grad():
        forward = milliseconds(lambda: call(q, k, v, s), repetitions)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    o = call(*leaves, s)
    backward = milliseconds(
        lambda: torch.autograd.grad(o, leaves, d_o, retain_graph=True), repetitions
    )
    return forward, backward


def host_cost(call):
    """Small calls: what one costs the host, forward and with the backward pass."""
    q, k, v, d_o = inputs(2, 256, 8, 64)
    s = slopes(8)
    with torch.no_grad():
        forward = host_microseconds(lambda: call(q, k, v, s))[0]
    leaves = [x.requires_grad_() for x in (q, k, v)]

    o = call(*leaves, s)
    backward = host_microseconds(
        lambda: torch.autograd.grad(o, leaves, d_o, retain_graph=True)
    )[0]
    nothing = leaves[0] * 1  # the same walk through autograd around one elementwise product
    empty = host_microseconds(
        lambda: torch.autograd.grad(nothing, leaves[:1], d_o, retain_graph=True)
    )[0]
    return forward, backward, empty


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--markdown", help="write the tables here as well")
    options = parser.parse_args()
    found = operators()
    bandwidth = copy_gigabytes_per_second()
    lines = [
        "# From PyTorch, on a GPU",
        "",
        f"Written by `bench/pytorch_attention.py` on one {torch.cuda.get_device_name()}, "
        f"{datetime.date.today()}: PyTorch {torch.__version__}, copy {bandwidth:.0f} GB/s; bf16, "
        "first-layer slopes, median of events with a cold L2.",
        "",
        "| B x T x H x D | floor f / b, ms | "
        + " | ".join(f"{n} f / b, ms (x floor)" for n in found)
        + (" | fla / tnl f / b |" if len(found) > 1 else " |"),
        "|---" * (2 + len(found) + (len(found) > 1)) + "|",
    ]
    for text in options.shapes.split(","):
        shape = tuple(map(int, text.split("x")))
        B, T, H, D = shape
        floor = [count * 2 * D * B * T * H / bandwidth / 1e6 for count in (4, 7)]
        row, times = f"| {text} | {floor[0]:.3f} / {floor[1]:.3f} |", {}
        for name, call in found.items():
            times[name] = time_shape(name, call, shape, options.repetitions)
            f, b = times[name]
            row += f" {f:.3f} / {b:.3f} ({f / floor[0]:.2f} / {b / floor[1]:.2f}) |"
            torch.cuda.empty_cache()
        if "fla" in times:
            f, b = (x / y for x, y in zip(times["fla"], times["tnl"]))
            row += f" {f:.1f} / {b:.1f} |"
        lines.append(row)
        print(row, flush=True)
    lines += [
        "",
        "Time of the host for one small call (2x256x8x64), us; backward as torch.autograd.grad, "
        "beside the same around one product:",
        "",
        "| | forward | backward | backward of x * 1 |",
        "|---|---|---|---|",
    ]
    for name, call in found.items():
        forward, backward, empty = host_cost(call)
        lines.append(f"| {name} | {forward:.1f} | {backward:.1f} | {empty:.1f} |")
        print(lines[-1], flush=True)
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
