#!/usr/bin/env python3
"""Times flash-linear-attention's simple_gla with a constant decay on one GPU: what people would
otherwise call for lightning attention. Prints JSON that bench/gpu_table.py puts beside ours.

    bench/peers.py --fla CHECKOUT --shapes 4x8192x16x128,1x131072x16x128

CHECKOUT is a clone of github.com/fla-org/flash-linear-attention. The protocol is that of `tnl bench
attention`: median over repetitions, the second-level cache emptied by reading before each, GPU time
between two events with the host far enough ahead that its own time does not count.
"""

import argparse
import json
import statistics
import sys

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


def parse_shape(text):
    extents = [int(part) for part in text.split("x")]
    return extents if len(extents) == 5 else extents + extents[-1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fla", required=True, help="a checkout of flash-linear-attention")
    parser.add_argument("--shapes", required=True, help="BxTxHxK[xV],...")
    parser.add_argument("--repeat", type=int, default=10)
    args = parser.parse_args()
    sys.path.insert(0, args.fla)
    import fla
    import triton
    from fla.ops.simple_gla import chunk_simple_gla

    torch.manual_seed(0)
    flush = torch.zeros(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    output = {
        "device": torch.cuda.get_device_name(),
        "versions": f"fla {fla.__version__}, PyTorch {torch.__version__}, "
                    f"Triton {triton.__version__}",
        "copy_gigabytes_per_second": copy_bandwidth(flush) / 1e9,
        "results": [],
    }
    for text in args.shapes.split(","):
        try:
            times = measure(chunk_simple_gla, parse_shape(text), args.repeat, flush)
        except Exception as error:  # a shape it cannot do is a row without a figure
            print(f"{text}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        for name, value in times.items():
            output["results"].append({"peer": "fla", "shape": text, "pass": name,
                                      "seconds_median": value})
        torch.cuda.empty_cache()
    json.dump(output, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
