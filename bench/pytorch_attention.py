#!/usr/bin/env python3
"""Times tnl's operator called from PyTorch on one GPU beside fla's, what it keeps in memory, and what
a call costs beyond the bare kernel: all of docs/benchmarks/pytorch.md.

    bench/pytorch_attention.py [--fla CHECKOUT] [--shapes BxTxHxD,...] [--markdown FILE]

Kernel times are medians of events around one call, the second-level cache emptied by reading before
each and the host far enough ahead that its own time does not count (checked each time); both sides
alike. The floor is every input read once and every output written once, at the copy bandwidth of the
same run. CHECKOUT is a clone of github.com/fla-org/flash-linear-attention. Its kernels are tuned
beforehand over all of their configurations, anew for each width and twice; the faster of the two
tunings counts. What a call costs the host: bench/pytorch_host.py.

In FILE, what stands from a line "## Notes" on is kept.
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
from page import kept_notes

import tnl

SHAPES = (
    "16x2048x16x128,4x8192x16x128,1x32768x16x128,4x8192x32x128,8x4096x16x64,4x8192x32x64,"
    "1x131072x16x128,1x524288x16x128"
)
TUNINGS = 2
NOTES = "## Notes"


def inputs(shape):
    torch.manual_seed(0)
    return [torch.randn(*shape, device="cuda", dtype=torch.bfloat16) for _ in range(4)]


def ours(heads):
    decay = -peer_operators.first_layer_slopes(heads, "cpu")
    return lambda q, k, v: tnl.lightning_attention(q, k, v, decay)[0]


def times_of(call, shape, repetitions):
    """Forward and backward, ms."""
    flush = torch.ones(peers.FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    q, k, v, d_o = inputs(shape)
    with torch.no_grad():
        forward = peers.seconds(lambda: call(q, k, v), repetitions, flush)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    o = call(*leaves)
    backward = peers.seconds(
        lambda: torch.autograd.grad(o, leaves, d_o, retain_graph=True), repetitions, flush
    )
    return forward * 1e3, backward * 1e3


def memory_of(call, shape):
    """Beyond q, k, v and o what the forward pass keeps for the backward one; beyond these and the
    gradients the most that either takes at any time. Bytes."""
    *leaves, d_o = inputs(shape)
    leaves = [x.requires_grad_() for x in leaves]
    torch.cuda.synchronize()
    begin = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    o = call(*leaves)
    kept = torch.cuda.memory_allocated() - begin - o.nbytes
    most = torch.cuda.max_memory_allocated() - begin - o.nbytes
    torch.cuda.reset_peak_memory_stats()
    gradients = torch.autograd.grad(o, leaves, d_o)
    torch.cuda.synchronize()
    results = o.nbytes + sum(x.nbytes for x in gradients)
    return kept, max(most, torch.cuda.max_memory_allocated() - begin - results)


class Fla:
    """fla's operator under each of its tunings."""

    def __init__(self, options):
        self.call, self.version, _ = peer_operators.load_fla(options.fla)
        self.configurations = {
            name: kernel.configs for name, kernel in peers.tuned_kernels().items()
        }
        self.tunings = []

    def prepare(self, options):
        """Tunes, or reads what was chosen before, and compiles."""
        texts = options.shapes.split(",")
        if not options.tuned.exists():
            peers.replace_file(options.tuned,
                               json.dumps(self.tune(options.fla, texts), indent=1) + "\n")
        self.tunings = json.loads(options.tuned.read_text())
        self.compile(options.fla, options.shapes)

    def allow(self, chosen):
        """Only what a tuning chose, where it chose; then Triton's memory of earlier choices is
        emptied, so that kernels of few configurations are tuned for the next shape."""
        for name, kernel in peers.tuned_kernels().items():
            kernel.configs = self.configurations[name]
            kernel.cache.clear()
        peers.prepare_tuning(chosen)

    def tune(self, checkout, texts):
        """A list of {width: {kernel: configurations}}."""
        firsts = {peers.parse_shape(text)[-1]: text for text in reversed(texts)}
        peers.compile_all(types.SimpleNamespace(fla=checkout, shapes=",".join(firsts.values())))
        found = []
        for _ in range(TUNINGS):
            found.append({})
            for width, text in firsts.items():
                self.allow({})
                shape = peers.parse_shape(text)
                peers.run_once(self.call, [shape], shape[1])
                found[-1][str(width)] = peers.chosen_configurations()
        return found

    def compile(self, checkout, shapes):
        """What the tunings chose, for every shape, by many processes."""
        union = {}
        for tuning in self.tunings:
            for chosen in tuning.values():
                for name, configurations in chosen.items():
                    known = union.setdefault(name, [])
                    known += [one for one in configurations if one not in known]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "tuned.json")
            path.write_text(json.dumps(union))
            peers.compile_all(types.SimpleNamespace(fla=checkout, shapes=shapes, tuned=path))

    def times(self, shape, repetitions):
        """(forward, backward) of each tuning."""
        found = []
        for tuning in self.tunings:
            self.allow(tuning.get(str(shape[-1]), {}))
            found.append(times_of(self.call, shape, repetitions))
        return found

    def choices(self):
        """Lines that say what the tunings chose."""
        for number, tuning in enumerate(self.tunings, 1):
            for width, chosen in sorted(tuning.items()):
                texts = []
                for name, configurations in sorted(chosen.items()):
                    each = []
                    for one in configurations:
                        tiles = " ".join(f"{key} {value}" for key, value in one["kwargs"].items())
                        each.append(f"{tiles} warps {one['num_warps']} stages {one['num_stages']}")
                    texts.append(f"{name}: {' or '.join(each)}")
                yield f"- {number}, width {width}: {'; '.join(texts)}"


def kernel_rows(fla, shapes, repetitions, bandwidth):
    for text in shapes:
        shape = tuple(map(int, text.split("x")))
        B, T, H, D = shape
        floor = [count * 2 * D * B * T * H / bandwidth / 1e6 for count in (4, 7)]
        forward, backward = times_of(ours(H), shape, repetitions)
        row = (f"| {text} | {floor[0]:.3f} / {floor[1]:.3f} | {forward:.3f} / {backward:.3f} "
               f"({forward / floor[0]:.2f} / {backward / floor[1]:.2f}) |")
        torch.cuda.empty_cache()
        if fla:
            found = fla.times(shape, repetitions)
            f, b = (min(times) for times in zip(*found))
            f_slow, b_slow = (max(times) for times in zip(*found))
            row += (f" {f:.3f} / {b:.3f} ({f / floor[0]:.2f} / {b / floor[1]:.2f}) |"
                    f" {f_slow:.3f} / {b_slow:.3f} | {f / forward:.1f} / {b / backward:.1f} |")
            torch.cuda.empty_cache()
        yield row


def memory_rows(fla, shapes):
    for text in shapes:
        shape = tuple(map(int, text.split("x")))
        calls = [ours(shape[2])]
        if fla:
            fla.allow(fla.tunings[0].get(str(shape[-1]), {}))
            calls.append(fla.call)
        row = f"| {text} | {torch.Size(shape).numel() * 2 / 2**20:.0f} |"
        for call in calls:
            memory_of(call, shape)  # tables made once
            kept, most = memory_of(call, shape)
            row += f" {kept / 2**20:.2f} / {most / 2**20:.0f} |"
            torch.cuda.empty_cache()
        yield row


def report(options):
    fla = Fla(options) if options.fla and options.shapes else None
    shapes = options.shapes.split(",") if options.shapes else []
    flush = torch.ones(peers.FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    bandwidth = peers.copy_bandwidth(flush) / 1e9
    versions = f"tnl {tnl.__version__}" + (f", {fla.version}" if fla else "")
    yield from (
        "# From PyTorch, on a GPU",
        "",
        f"Written by `bench/pytorch_attention.py` on one {torch.cuda.get_device_name()}, "
        f"{datetime.date.today()}: {versions}, PyTorch {torch.__version__}; copy {bandwidth:.0f} "
        "GB/s; bf16, first-layer slopes.",
        "",
        "## What a call costs beyond the kernel",
    )
    yield from pytorch_host.report()
    if not shapes:
        return
    if fla:
        fla.prepare(options)
    yield from (
        "",
        "## Kernel time",
        "Medians of events around one call with a cold L2, the host ahead, both sides alike. The "
        "floor is every input read once and every output written once."
        + (" fla was tuned twice over all configurations; the faster tuning counts, the slower "
           "stands beside it." if fla else ""),
        "",
        "| B x T x H x D | floor f / b, ms | tnl f / b, ms (x floor) |"
        + (" fla f / b, ms (x floor) | its slower tuning | fla / tnl f / b |" if fla else ""),
        "|---" * (6 if fla else 3) + "|",
    )
    yield from kernel_rows(fla, shapes, options.repetitions, bandwidth)
    yield from (
        "",
        "## Memory",
        "MiB. Kept: beyond q, k, v and o, what the forward pass keeps for the backward one. Most: "
        "beyond these and the gradients, at any time of either pass.",
        "",
        "| B x T x H x D | one of q, k, v, o | tnl kept / most |"
        + (" fla kept / most |" if fla else ""),
        "|---" * (4 if fla else 3) + "|",
    )
    yield from memory_rows(fla, shapes)
    if fla:
        yield from ("", "## What fla's tunings chose",
                    "Kernels of more than ten configurations; the others were tuned for each shape.",
                    "", *fla.choices())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fla", help="a checkout of flash-linear-attention")
    parser.add_argument("--tuned", type=pathlib.Path,
                        default=pathlib.Path(tempfile.gettempdir(), "tnl_fla_tunings.json"),
                        help="what fla's tunings chose: read where it is, else written")
    parser.add_argument("--shapes", default=SHAPES, help="empty: the cost of a call alone")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--markdown", type=pathlib.Path, help="write the page here as well")
    options = parser.parse_args()
    notes = kept_notes(options.markdown, NOTES)
    lines = []
    for line in report(options):
        lines.append(line)
        print(line, flush=True)
        if options.markdown:  # anew after every line: little is lost when the time is up
            peers.replace_file(options.markdown, "\n".join(lines) + "\n" + ("\n" + notes if notes else ""))


if __name__ == "__main__":
    main()
