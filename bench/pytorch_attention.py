#!/usr/bin/env python3
"""Times tnl's operator called from PyTorch on one GPU beside fla's, and what a call costs the host.

    bench/pytorch_attention.py [--fla CHECKOUT] [--shapes BxTxHxD,...] [--markdown FILE]

Kernel times are medians of events around one call, the second-level cache emptied by reading before
each and the host far enough ahead that its own time does not count. The floor is every input read
once and every output written once, at the copy bandwidth of the same run. CHECKOUT is a clone of
github.com/fla-org/flash-linear-attention; its kernels are compiled beforehand (bench/peers.py).

What a call costs the host is measured by bench/pytorch_host.py, whose tables end the page.
"""

import argparse
import datetime
import json
import pathlib
import tempfile
import types

import peer_operators
import peers
import pytorch_host
import torch

import tnl

SHAPES = (
    "16x2048x16x128,4x8192x16x128,1x32768x16x128,1x131072x16x128,1x524288x16x128,"
    "4x8192x32x128,8x4096x16x64,4x8192x32x64"
)


def milliseconds(call, repetitions):
    flush = torch.ones(peers.FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    return peers.seconds(call, repetitions, flush) * 1e3


def inputs(shape, device="cuda", dtype=torch.bfloat16):
    torch.manual_seed(0)
    return [torch.randn(*shape, device=device, dtype=dtype) for _ in range(4)]


def slopes(heads):
    return torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)])


def operators(checkout):
    """Name -> (a call of q, k, v and slopes, its version)."""

    def ours(q, k, v, s):
        return tnl.lightning_attention(q, k, v, s)[0]

    found = {"tnl": (ours, tnl.__version__, lambda s: -s)}
    if checkout:
        chunk_simple_gla, version = peer_operators.load_chunk_simple_gla(checkout)

        def fla(q, k, v, gamma):
            return chunk_simple_gla(q, k, v, g_gamma=gamma, scale=1.0)[0]

        found["fla"] = (fla, version, lambda s: -s.cuda())
    return found


def time_shape(call, shape, decay, repetitions):
    q, k, v, d_o = inputs(shape)
    with torch.no_grad():
        forward = milliseconds(lambda: call(q, k, v, decay), repetitions)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    o = call(*leaves, decay)
    backward = milliseconds(
        lambda: torch.autograd.grad(o, leaves, d_o, retain_graph=True), repetitions
    )
    return forward, backward


def kernel_rows(found, shapes, repetitions, bandwidth):
    for text in shapes.split(","):
        shape = tuple(map(int, text.split("x")))
        B, T, H, D = shape
        floor = [count * 2 * D * B * T * H / bandwidth / 1e6 for count in (4, 7)]
        row, times = f"| {text} | {floor[0]:.3f} / {floor[1]:.3f} |", {}
        for name, (call, _, decay_of) in found.items():
            times[name] = time_shape(call, shape, decay_of(slopes(H)), repetitions)
            f, b = times[name]
            row += f" {f:.3f} / {b:.3f} ({f / floor[0]:.2f} / {b / floor[1]:.2f}) |"
            torch.cuda.empty_cache()
        if "fla" in times:
            f, b = (x / y for x, y in zip(times["fla"], times["tnl"]))
            row += f" {f:.1f} / {b:.1f} |"
        yield row


def report(options):
    found = operators(options.fla)
    flush = torch.ones(peers.FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    bandwidth = peers.copy_bandwidth(flush) / 1e9
    versions = ", ".join(f"{name} {version}" for name, (_, version, _) in found.items())
    yield from (
        "# From PyTorch, on a GPU",
        "",
        f"Written by `bench/pytorch_attention.py` on one {torch.cuda.get_device_name()}, "
        f"{datetime.date.today()}: {versions}, PyTorch {torch.__version__}; copy {bandwidth:.0f} "
        "GB/s; bf16, first-layer slopes, median of events with a cold L2. The floor is every input "
        "read once and every output written once.",
    )
    if options.shapes:
        yield from (
            "",
            "| B x T x H x D | floor f / b, ms | "
            + " | ".join(f"{name} f / b, ms (x floor)" for name in found)
            + (" | fla / tnl f / b |" if len(found) > 1 else " |"),
            "|---" * (2 + len(found) + (len(found) > 1)) + "|",
        )
        yield from kernel_rows(found, options.shapes, options.repetitions, bandwidth)
    yield ""
    yield from pytorch_host.report()


def prepare_fla(options):
    """Its kernels tuned, once, and compiled for every shape (bench/peers.py)."""
    args = types.SimpleNamespace(fla=options.fla, shapes=options.shapes, tuned=options.tuned)
    call = peer_operators.load_fla(options.fla)[0]
    if not args.tuned.exists():
        peers.tune(args, call, options.shapes.split(",")[0])
    peers.compile_all(args)
    peers.prepare_tuning(json.loads(args.tuned.read_text()))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fla", help="a checkout of flash-linear-attention")
    parser.add_argument("--tuned", type=pathlib.Path,
                        default=pathlib.Path(tempfile.gettempdir(), "tnl_fla_tuned.json"),
                        help="what fla's tuning chose: read where it is, else written")
    parser.add_argument("--shapes", default=SHAPES, help="empty: what a call costs the host alone")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--markdown", help="write the tables here as well")
    options = parser.parse_args()
    if options.fla and options.shapes:
        prepare_fla(options)
    lines = []
    for line in report(options):
        lines.append(line)
        print(line, flush=True)
        if options.markdown:  # anew after every line: little is lost when the time is up
            with open(options.markdown, "w") as file:
                file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
