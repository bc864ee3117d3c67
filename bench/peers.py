#!/usr/bin/env python3
"""Times flash-linear-attention's simple_gla with a constant decay on one GPU: what people would
otherwise call for lightning attention. Prints JSON that bench/gpu_table.py puts beside ours.

    bench/peers.py --fla CHECKOUT --shapes 4x8192x16x128,1x131072x16x128

CHECKOUT is a clone of github.com/fla-org/flash-linear-attention. Its kernels are tuned over some 150
configurations, which would take minutes to compile one after the other: as many processes as there
are cores compile a share each into Triton's cache before the measurement starts. The protocol is that of `tnl bench
attention`: median over repetitions, the second-level cache emptied by reading before each, GPU time
between two events with the host far enough ahead that its own time does not count.
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


def seconds(work, repeat, flush):
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeat):
        torch.cuda._sleep(4_000_000)  # about 2 ms: the host queues the work meanwhile
        flush.sum()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def copy_bandwidth(flush):
    count = 1 << 30
    source = torch.empty(count, dtype=torch.bfloat16, device="cuda")
    target = torch.empty_like(source)
    return 4 * count / seconds(lambda: target.copy_(source), 8, flush)


def first_layer_slopes(heads):
    return torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)], device="cuda")


def measure(chunk_simple_gla, shape, repeat, flush):
    batch, tokens, heads, key_dim, value_dim = shape
    widths = (key_dim, key_dim, value_dim)
    q, k, v = (torch.randn(batch, tokens, heads, width, device="cuda", dtype=torch.bfloat16)
               .requires_grad_() for width in widths)
    decay = -first_layer_slopes(heads)

    def forward():
        return chunk_simple_gla(q, k, v, g_gamma=decay, scale=1.0)[0]

    with torch.no_grad():
        forward_seconds = seconds(forward, repeat, flush)
    o = forward()
    d_o = torch.randn_like(o)

    def backward():
        q.grad = k.grad = v.grad = None
        o.backward(d_o, retain_graph=True)

    return {"forward": forward_seconds, "backward": seconds(backward, repeat, flush)}


def load(checkout):
    """chunk_simple_gla and its version, without what else the package would import."""
    root = pathlib.Path(checkout).resolve()
    found = re.search(r'__version__ = "([^"]+)"', (root / "fla" / "__init__.py").read_text())
    version = found.group(1) if found else "unknown"
    for name in ("fla", "fla.ops"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")))]
        package.__version__ = version
        sys.modules[name] = package
    return importlib.import_module("fla.ops.simple_gla.chunk").chunk_simple_gla, version


def keep_share(share, shares):
    """Leaves every `shares`-th configuration of each tuned kernel."""
    from triton.runtime.autotuner import Autotuner

    tuned = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith("fla.ops."):
            continue
        for value in vars(module).values():
            while value is not None and not isinstance(value, Autotuner):
                value = getattr(value, "fn", None)
            if value is not None:
                tuned[id(value)] = value  # one kernel may be known in several modules
    for kernel in tuned.values():
        kernel.configs = kernel.configs[share::shares] or kernel.configs[:1]


def compile_share(chunk_simple_gla, shapes, share, shares):
    keep_share(share, shares)
    for _, _, heads, key_dim, value_dim in shapes:
        q, k, v = (torch.randn(1, 1024, heads, width, device="cuda", dtype=torch.bfloat16)
                   .requires_grad_() for width in (key_dim, key_dim, value_dim))
        decay = -first_layer_slopes(heads)
        o = chunk_simple_gla(q, k, v, g_gamma=decay, scale=1.0)[0]
        o.backward(torch.randn_like(o))
    torch.cuda.synchronize()


def compile_all(args):
    shares = min(16, os.cpu_count() or 1)
    start = time.time()
    command = [sys.executable, __file__, "--fla", args.fla, "--shapes", args.shapes]
    running = [subprocess.Popen(command + ["--compile-share", f"{share}/{shares}"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for share in range(shares)]
    failed = sum(process.wait() != 0 for process in running)
    print(f"compiled in {time.time() - start:.0f} s by {shares} processes, {failed} failed",
          file=sys.stderr, flush=True)


def parse_shape(text):
    extents = [int(part) for part in text.split("x")]
    return extents if len(extents) == 5 else extents + extents[-1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fla", required=True, help="a checkout of flash-linear-attention")
    parser.add_argument("--shapes", required=True, help="BxTxHxK[xV],...")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=300, help="start no shape after this time")
    parser.add_argument("--compile-share", help=argparse.SUPPRESS)
    args = parser.parse_args()
    start = time.time()
    chunk_simple_gla, version = load(args.fla)
    texts = args.shapes.split(",")
    # One of each number of heads and widths: what the kernels are compiled for.
    kinds = {tuple(parse_shape(text)[2:]): parse_shape(text) for text in texts}
    if args.compile_share:
        share, shares = map(int, args.compile_share.split("/"))
        compile_share(chunk_simple_gla, kinds.values(), share, shares)
        return
    compile_all(args)

    import triton

    torch.manual_seed(0)
    flush = torch.zeros(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    output = {
        "device": torch.cuda.get_device_name(),
        "versions": f"fla {version}, PyTorch {torch.__version__}, "
                    f"Triton {triton.__version__}",
        "copy_gigabytes_per_second": copy_bandwidth(flush) / 1e9,
        "results": [],
    }
    for text in texts:
        if time.time() - start > args.seconds:
            print(f"{text}: no time left", file=sys.stderr)
            continue
        try:
            times = measure(chunk_simple_gla, parse_shape(text), args.repeat, flush)
        except Exception as error:  # a shape it cannot do is a row without a figure
            print(f"{text}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        for name, value in times.items():
            output["results"].append({"peer": "fla", "shape": text, "pass": name,
                                      "seconds_median": value})
        torch.cuda.empty_cache()
        print(f"{text}: done after {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    json.dump(output, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
