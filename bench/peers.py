#!/usr/bin/env python3
"""Times what people would otherwise call for lightning attention on one GPU: flash-linear-attention's
simple_gla with a constant decay and, where its checkout is given, lightning-attention. Writes JSON
that bench/gpu_table.py puts beside ours, anew after every shape, so that little is lost when the
time is up.

    bench/peers.py --out peers.json --fla CHECKOUT [--la CHECKOUT] --shapes 4x8192x16x128,...
        [--tuned FILE]  the configurations that fla's tuning chose: read where it is, else written
                        (default: beside peers.json)

CHECKOUTs are clones of github.com/fla-org/flash-linear-attention and OpenNLPLab/lightning-attention.
fla's kernels are tuned over some 150 configurations, which would take minutes to compile one after
the other, and then again for other numbers of sequences and heads. So they are tuned once, on the first
shape, with few repetitions of each configuration, and what was chosen is compiled for the others; as many
processes as there are cores compile a share each into Triton's cache before anything is timed. The protocol is that of `tnl bench attention`:
median over repetitions, the second-level cache emptied by reading before each, GPU time between two
events with the host far enough ahead that its own time does not count.
"""

import argparse
import importlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import types

import torch

FLUSH_BYTES = 256 << 20
SLOW_SECONDS = 0.05  # what takes longer is repeated three times
FEW_CONFIGURATIONS = 10  # a kernel that has no more is tuned every time


def seconds(work, repeat, flush):
    def once():
        torch.cuda._sleep(4_000_000)  # about 2 ms: the host queues the work meanwhile
        flush.sum()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3

    once()
    few = once() > SLOW_SECONDS
    return statistics.median(once() for _ in range(3 if few else repeat))


def copy_bandwidth(flush):
    count = 1 << 30
    source = torch.empty(count, dtype=torch.bfloat16, device="cuda")
    target = torch.empty_like(source)
    return 4 * count / seconds(lambda: target.copy_(source), 8, flush)


def first_layer_slopes(heads):
    return torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)], device="cuda")


def package(checkout, *names):
    """Makes the packages importable from the checkout without running their __init__.py, which
    would import far more."""
    root = pathlib.Path(checkout).resolve()
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = module
    return root


def load(checkout):
    """fla's chunk_simple_gla and its version."""
    root = package(checkout, "fla", "fla.ops")
    found = re.search(r'__version__ = "([^"]+)"', (root / "fla" / "__init__.py").read_text())
    version = found.group(1) if found else "unknown"
    for name in ("fla", "fla.ops"):
        sys.modules[name].__version__ = version
    return importlib.import_module("fla.ops.simple_gla.chunk").chunk_simple_gla, version


def load_fla(checkout):
    operator, version = load(checkout)

    def call(q, k, v):
        return operator(q, k, v, g_gamma=-first_layer_slopes(q.shape[2]), scale=1.0)[0]

    return call, f"fla {version}"


def load_lightning(checkout):
    root = package(checkout, "lightning_attn", "lightning_attn.ops", "lightning_attn.ops.triton")
    found = re.search(r'version="([^"]+)"', (root / "setup.py").read_text())
    # As its __init__.py does.
    operator = importlib.import_module("lightning_attn.ops.triton.lightning_attn2").lightning_attn2

    def call(q, k, v):  # its layout: [B, H, T, D]
        return operator(q, k, v, first_layer_slopes(q.shape[1]))

    return call, f"lightning-attention {found.group(1) if found else 'unknown'}"


def measure(call, shape, by_head, repeat, flush):
    batch, tokens, heads, key_dim, value_dim = shape

    def rows(width):
        axes = (batch, heads, tokens, width) if by_head else (batch, tokens, heads, width)
        return torch.randn(axes, device="cuda", dtype=torch.bfloat16).requires_grad_()

    q, k, v = rows(key_dim), rows(key_dim), rows(value_dim)
    with torch.no_grad():
        forward_seconds = seconds(lambda: call(q, k, v), repeat, flush)
    o = call(q, k, v)
    d_o = torch.randn_like(o)

    def backward():
        q.grad = k.grad = v.grad = None
        o.backward(d_o, retain_graph=True)

    return {"forward": forward_seconds, "backward": seconds(backward, repeat, flush)}


def tuned_kernels():
    """fla's kernels that are tuned, by name; one may be known in several modules."""
    from triton.runtime.autotuner import Autotuner

    kernels = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith("fla.ops."):
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
    for _ in range(3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    times.sort()
    return [times[1], times[0], times[2]] if quantiles else times[1]


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


def kinds_of(texts):
    """One shape of each kind that kernels are compiled for."""
    shapes = [parse_shape(text) for text in texts]
    return list({(shape[0], *shape[2:]): shape for shape in shapes}.values())


def compile_share(call, shapes, tuned, share, shares):
    """The processes are dealt to the kinds, and those of one kind share its configurations. Before
    the tuning each takes all kinds: most kernels keep for all of them what they chose for the first.
    """
    groups = min(len(shapes), shares) if tuned else 1
    group = share % groups
    prepare_tuning(tuned, share // groups, len(range(group, shares, groups)))
    run_once(call, shapes[group::groups], tokens=256)


def compile_all(args):
    shares = min(16, os.cpu_count() or 1)
    start = time.time()
    command = [sys.executable, __file__, "--fla", args.fla, "--shapes", args.shapes]
    if getattr(args, "tuned", None):
        command += ["--tuned", str(args.tuned)]
    running = [subprocess.Popen(command + ["--compile-share", f"{share}/{shares}"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for share in range(shares)]
    failed = sum(process.wait() != 0 for process in running)
    print(f"compiled in {time.time() - start:.0f} s by {shares} processes, {failed} failed",
          file=sys.stderr, flush=True)


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
    parser.add_argument("--la", help="a checkout of lightning-attention")
    parser.add_argument("--shapes", required=True, help="BxTxHxK[xV],...")
    parser.add_argument("--tuned", type=pathlib.Path)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=300, help="start no shape after this time")
    parser.add_argument("--compile-share", help=argparse.SUPPRESS)
    args = parser.parse_args()
    start = time.time()
    texts = args.shapes.split(",")
    fla, fla_version = load_fla(args.fla)
    if args.compile_share:
        share, shares = map(int, args.compile_share.split("/"))
        known = json.loads(args.tuned.read_text()) if args.tuned else {}
        compile_share(fla, kinds_of(texts), known, share, shares)
        return
    args.tuned = args.tuned or args.out.with_name("fla_tuned.json")
    if not args.tuned.exists():
        tune(args, fla, texts[0])
        print(f"tuned after {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    compile_all(args)
    prepare_tuning(json.loads(args.tuned.read_text()))
    peers = {"fla": (fla, False)}
    versions = [fla_version]
    if args.la:
        lightning, version = load_lightning(args.la)
        peers["lightning-attention"] = (lightning, True)
        versions.append(version)
    import triton

    versions += [f"PyTorch {torch.__version__}", f"Triton {triton.__version__}"]

    torch.manual_seed(0)
    flush = torch.zeros(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    output = {
        "device": torch.cuda.get_device_name(),
        "versions": ", ".join(versions),
        "copy_gigabytes_per_second": copy_bandwidth(flush) / 1e9,
        "results": [],
    }
    for peer, (call, by_head) in peers.items():
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
