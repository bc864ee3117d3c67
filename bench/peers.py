#!/usr/bin/env python3
"""Times what people would otherwise call for lightning attention on one GPU: flash-linear-attention's
simple_gla with a constant decay and, where their checkouts are given, ThunderKittens, Mamba-2 and
lightning-attention. Writes JSON that bench/gpu_table.py puts beside ours, anew after every shape, so
that little is lost when the time is up.

    bench/peers.py --out peers.json --fla CHECKOUT --shapes 4x8192x16x128,...
        [--kittens CHECKOUT] [--mamba CHECKOUT] [--la CHECKOUT]
        [--tuned FILE]  the configurations that fla's tuning chose: read where it is, else written
                        (default: beside peers.json)

CHECKOUTs are clones of github.com/fla-org/flash-linear-attention, HazyResearch/ThunderKittens,
state-spaces/mamba and OpenNLPLab/lightning-attention.
fla's kernels are tuned over some 150 configurations, which would take minutes to compile one after
the other, and then again for other numbers of sequences and heads. So they are tuned once, on the first
shape, with few repetitions of each configuration, and what was chosen is compiled for the others; as many
processes as there are cores compile a share each into Triton's cache before anything is timed. The protocol is that of `tnl bench attention`:
median over repetitions, the second-level cache emptied by reading before each, GPU time between two
events with the host far enough ahead that its own time does not count (checked each time).
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import types

import torch

import peer_operators

FLUSH_BYTES = 256 << 20
SLOW_SECONDS = 0.05  # what takes longer is repeated three times
FEW_CONFIGURATIONS = 10  # a kernel that has no more is tuned every time


def seconds(work, repeat, flush):
    """Median time of the GPU for what `work` queues."""

    def once():
        for cycles in (4_000_000, 16_000_000, 64_000_000):  # 2, 8, 32 ms for the host to queue it
            torch.cuda._sleep(cycles)
            flush.sum()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            ahead = not start.query()
            torch.cuda.synchronize()
            if ahead:
                return start.elapsed_time(end) / 1e3
        raise RuntimeError("the host waits for the GPU within the call: its own time would count")

    work()
    few = once() > SLOW_SECONDS
    return statistics.median(once() for _ in range(3 if few else repeat))


def copy_bandwidth(flush):
    count = 1 << 30
    source = torch.empty(count, dtype=torch.bfloat16, device="cuda")
    target = torch.empty_like(source)
    return 4 * count / seconds(lambda: target.copy_(source), 8, flush)


def measure(call, shape, by_head, repeat, flush):
    batch, tokens, heads, key_dim, value_dim = shape

    def rows(width):
        axes = (batch, heads, tokens, width) if by_head else (batch, tokens, heads, width)
        return torch.randn(axes, device="cuda", dtype=torch.bfloat16).requires_grad_()

    q, k, v = rows(key_dim), rows(key_dim), rows(value_dim)
    with torch.no_grad():
        forward_seconds = seconds(lambda: call(q, k, v), repeat, flush)
    o = call(q, k, v)
    if not o.requires_grad:
        return {"forward": forward_seconds}
    d_o = torch.randn_like(o)

    def backward():
        q.grad = k.grad = v.grad = None
        o.backward(d_o, retain_graph=True)

    return {"forward": forward_seconds, "backward": seconds(backward, repeat, flush)}


def tuned_kernels():
    """The peers' kernels that Triton tunes, by name; one may be known in several modules."""
    from triton.runtime.autotuner import Autotuner

    kernels = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith(("fla.ops.", "mamba_ssm.ops.")):
            continue
        for value in list(vars(module).values()):
            while value is not None and not isinstance(value, Autotuner):
                value = getattr(value, "fn", None)
            if value is not None:
                kernels[value.base_fn.__name__] = value
    return kernels


def describe(config):
    return {"kwargs": dict(config.kwargs), "num_warps": config.num_warps,
            "num_stages": config.num_stages}


def tune_quickly(work, quantiles=None, **_):
    """In place of Triton's tenth of a second for each configuration."""
    work()
    times = []
    for _ in range(7):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    times.sort()
    return [times[3], times[1], times[5]] if quantiles else times[3]


def prepare_tuning(tuned, share=0, shares=1):
    """Leaves the configurations chosen before of kernels with many, or every `shares`-th one."""
    for name, kernel in tuned_kernels().items():
        kernel.__dict__.pop("do_bench", None)
        kernel._do_bench = tune_quickly
        chosen = [one for one in kernel.configs if describe(one) in tuned.get(name, [])]
        configs = chosen or kernel.configs
        kernel.configs = configs[share::shares] or configs[:1]


def chosen_configurations():
    chosen = {}
    for name, kernel in tuned_kernels().items():
        found = [describe(config) for config in kernel.cache.values()]
        if found and len(kernel.configs) > FEW_CONFIGURATIONS:
            chosen[name] = [one for i, one in enumerate(found) if one not in found[:i]]
    return chosen


def run_once(call, shapes, tokens):
    """What compiles the kernels: they differ by everything but the number of tokens."""
    for batch, _, heads, key_dim, value_dim in shapes:
        q, k, v = (torch.randn(batch, tokens, heads, width, device="cuda", dtype=torch.bfloat16)
                   .requires_grad_() for width in (key_dim, key_dim, value_dim))
        o = call(q, k, v)
        o.backward(torch.randn_like(o))
    torch.cuda.synchronize()


def kinds_of(shapes):
    """One shape of each kind that kernels are compiled for."""
    return list({(shape[0], *shape[2:]): shape for shape in shapes}.values())


def compile_share(call, shapes, tuned, share, shares):
    """The processes are dealt to the kinds, and those of one kind share its configurations. Before
    the tuning each takes all kinds: most kernels keep for all of them what they chose for the first.
    """
    groups = min(len(shapes), shares) if tuned else 1
    group = share % groups
    prepare_tuning(tuned, share // groups, len(range(group, shares, groups)))
    run_once(call, shapes[group::groups], tokens=256)


def compile_all(args, peer="fla"):
    shares = min(16, os.cpu_count() or 1)
    start = time.time()
    command = [sys.executable, __file__, "--fla", args.fla, "--shapes", args.shapes]
    for name in ("tuned", "mamba"):
        if getattr(args, name, None):
            command += [f"--{name}", str(getattr(args, name))]
    running = []
    for share in range(shares):
        log = tempfile.TemporaryFile("w+")
        running.append((subprocess.Popen(command + ["--compile-share", f"{peer}:{share}/{shares}"],
                                         stdout=subprocess.DEVNULL, stderr=log), log))
    reasons = []
    for process, log in running:
        if process.wait() != 0:
            log.seek(0)
            reasons += (log.read().strip().splitlines() or ["no message"])[-1:]
    print(f"{peer} compiled in {time.time() - start:.0f} s by {shares} processes, {len(reasons)} failed"
          + (f": {reasons[0]}" if reasons else ""), file=sys.stderr, flush=True)


def compile_as_told(args):
    peer, share, shares = re.fullmatch(r"(\w+):(\d+)/(\d+)", args.compile_share).groups()
    shapes = [parse_shape(text) for text in args.shapes.split(",")]
    if peer == "mamba":  # tuned by width alone
        call = peer_operators.load_mamba(args.mamba)[0]
        prepare_tuning({}, int(share), int(shares))
        run_once(call, {shape[3]: shape for shape in shapes}.values(),
                 tokens=2 * peer_operators.MAMBA_CHUNK)
        return
    known = json.loads(args.tuned.read_text()) if args.tuned else {}
    compile_share(peer_operators.load_fla(args.fla)[0], kinds_of(shapes), known, int(share), int(shares))


def tune(args, call, first):
    compile_all(types.SimpleNamespace(fla=args.fla, shapes=first))
    prepare_tuning({})
    shape = parse_shape(first)
    run_once(call, [shape], shape[1])
    replace_file(args.tuned, json.dumps(chosen_configurations(), indent=1) + "\n")


def parse_shape(text):
    extents = [int(part) for part in text.split("x")]
    return extents if len(extents) == 5 else extents + extents[-1:]


def replace_file(path, text):
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--fla", required=True, help="a checkout of flash-linear-attention")
    parser.add_argument("--kittens", help="a checkout of ThunderKittens")
    parser.add_argument("--mamba", help="a checkout of mamba")
    parser.add_argument("--la", help="a checkout of lightning-attention")
    parser.add_argument("--shapes", required=True, help="BxTxHxK[xV],...")
    parser.add_argument("--tuned", type=pathlib.Path)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=300, help="start no shape after this time")
    parser.add_argument("--compile-share", help=argparse.SUPPRESS)
    args = parser.parse_args()
    start = time.time()
    texts = args.shapes.split(",")
    if args.compile_share:
        compile_as_told(args)
        return
    peers = {"fla": peer_operators.load_fla(args.fla)}
    args.tuned = args.tuned or args.out.with_name("fla_tuned.json")
    if not args.tuned.exists():
        tune(args, peers["fla"][0], texts[0])
        print(f"tuned after {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    compile_all(args)
    if args.kittens:
        peers["ThunderKittens"] = peer_operators.load_thunderkittens(args.kittens)
    if args.mamba:
        compile_all(args, "mamba")
        peers["Mamba-2"] = peer_operators.load_mamba(args.mamba)
    if args.la:
        peers["lightning-attention"] = peer_operators.load_lightning(args.la)
    prepare_tuning(json.loads(args.tuned.read_text()))
    import triton

    versions = [version for _, version, _ in peers.values()]
    versions += [f"PyTorch {torch.__version__}", f"Triton {triton.__version__}"]

    torch.manual_seed(0)
    flush = torch.zeros(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    output = {
        "device": torch.cuda.get_device_name(),
        "versions": ", ".join(versions),
        "copy_gigabytes_per_second": copy_bandwidth(flush) / 1e9,
        "results": [],
    }
    for peer, (call, _, by_head) in peers.items():
        for text in texts:
            if time.time() - start > args.seconds:
                print(f"{peer} {text}: no time left", file=sys.stderr)
                continue
            try:
                times = measure(call, parse_shape(text), by_head, args.repeat, flush)
            except Exception as error:  # a shape it cannot do is a row without a figure
                print(f"{peer} {text}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            for name, value in times.items():
                output["results"].append({"peer": peer, "shape": text, "pass": name,
                                          "seconds_median": value})
            torch.cuda.empty_cache()
            print(f"{peer} {text}: done after {time.time() - start:.0f} s", file=sys.stderr,
                  flush=True)
            replace_file(args.out, json.dumps(output, indent=1) + "\n")


if __name__ == "__main__":
    main()
