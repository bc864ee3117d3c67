"""What bench/train_table.py measured as a page and a picture: render() and plot()."""

import json
import pathlib
import subprocess
import tempfile

from page import short_name

SMALL, LARGE = "0.4B", "1B"
CHUNK = 32768
PEER_NAMES = {"tnl": "TransNormerLLM in PyTorch with fla", "llama": "LLaMA in PyTorch"}
TARGETS = {SMALL: 185000, LARGE: 84000}


def rate(row):
    return f"{row['tokens_per_second']:,.0f}"


def gib(count):
    return f"{count / 2**30:.1f}"


def spread(run):
    rates = [row["tokens_per_second"] for row in run["results"]]
    return max(rates) / min(rates)


def peer_at(found, model, kind, length):
    for row in found["peers"].get(model, {}).get("rows", []):
        if row["kind"] == kind and row["length"] == length:
            return row
    return None


def peer_kinds(found):
    rows = [row for peers in found["peers"].values() for row in peers["rows"]]
    return [kind for kind in PEER_NAMES if any(row["kind"] == kind for row in rows)]


def speed_rows(found, name, model):
    run = found["runs"].get(name)
    if run is None:
        return
    for row in run["results"]:
        cells = [model, run["recompute"], f"{row['length']:,}", f"**{rate(row)}**",
                 f"{row['gflops'] / 1000:.0f}"]
        for kind in peer_kinds(found):
            peer = peer_at(found, model, kind, row["length"])
            beside = peer and peer.get("beside")
            times = f" ({beside / peer['tokens_per_second']:.2f}x)" if beside else ""
            cells.append("" if peer is None or name not in ("none", "1b") else rate(peer) + times)
        yield "| " + " | ".join(cells) + " |"


def write_speed(out, found):
    kinds = peer_kinds(found)
    names = "".join(f" {PEER_NAMES[kind]} |" for kind in kinds)
    out += ["## Speed", "", f"| model | recompute | length | tokens/s | TFLOP/s |{names}",
            "|---|---|---|---|---|" + "---|" * len(kinds)]
    for name, model in (("none", SMALL), ("selective", SMALL), ("full", SMALL), ("1b", LARGE)):
        out += speed_rows(found, name, model)
    out += ["", "0.4B: 24 layers of width 1,024, 8 heads, GLU of 2,816, vocabulary 64,000, untied head, no "
            "LRPE (464.5M parameters), 32,768 tokens a step. 1B: 16 layers of width 2,048, 16 heads, GLU "
            "of 5,632, likewise (1,151M), 16,384 tokens a step. TFLOP/s count 6 a parameter that multiplies "
            "and 16 d² a head and layer, for each token."
            + (" In brackets: how many times faster this was in the same run." if kinds else "")]
    for model, peers in found["peers"].items():
        memory = [f"{kind} {max(row['gibibytes'] for row in peers['rows'] if row['kind'] == kind)}"
                  for kind in PEER_NAMES if any(row["kind"] == kind for row in peers["rows"])]
        if memory:
            out.append(f"PyTorch {model}: `{peers['versions']}`, bf16 autocast, torch.compile for each "
                       f"length alone, fused AdamW; peak memory in GiB: {', '.join(memory)}.")
    for name, model in (("none", SMALL), ("1b", LARGE)):
        run = found["runs"].get(name)
        if run:
            least = min(row["tokens_per_second"] for row in run["results"])
            out.append(f"{model}, slowest length: {least:,.0f} tokens/s (target {TARGETS[model]:,}); "
                       f"largest over smallest {spread(run):.3f} (target 1.05).")
    full, none = found["runs"].get("full"), found["runs"].get("none")
    if full and none:
        share = min(row["tokens_per_second"] for row in full["results"]) / max(
            row["tokens_per_second"] for row in none["results"])
        out.append(f"Full recompute keeps {100 * share:.0f} % of the speed (target 75 %).")
    out.append("")


def write_memory(out, found):
    rows = []
    for name, run in found["runs"].items():
        memory = run.get("memory")
        if memory and "taken" in memory:
            chunks = " in chunks" if name == "chunks" else ""
            rows.append(f"| {run['model']}{chunks} | {run['recompute']} | {run['tokens_per_pass']:,} | "
                        f"{gib(memory['planned'])} | {gib(memory['allocated'])} | {gib(memory['taken'])} | "
                        f"{100 * (memory['taken'] / memory['planned'] - 1):+.1f} % |")
    if not rows:
        return
    out += ["## Memory", "", "| model | recompute | tokens a pass | planned, GiB | allocated | "
            "gone from the device's free memory | of the plan |", "|---|---|---|---|---|---|---|", *rows, "",
            "The plan is what `tnl train --dry-run` prints; targets: within 3 % of what is used, at most 30 "
            "GiB at 32K tokens a step at full speed, which selective recompute is, 16 GiB with full "
            "recompute.", ""]


def write_chunks(out, found):
    run = found["runs"].get("chunks")
    if run is None:
        return
    one, long = run["results"][0], run["results"][-1]
    out += ["## One long sequence", "", "| length | tokens/s | s a step |", "|---|---|---|"]
    out += [f"| {row['length']:,} | {rate(row)} | {row['seconds_median']:.2f} |"
            for row in run["results"]]
    share = long["tokens_per_second"] / one["tokens_per_second"]
    out += ["", f"0.4B, the exact gradient in chunks of {CHUNK:,} tokens, states between chunks in host "
            f"memory, in one process and one plan of memory: {100 * share:.1f} % of the speed of {CHUNK:,} "
            "tokens (target 70 %; one more forward pass would leave about 75 %).", ""]


def write_lengths(out, found, picture):
    run = found["runs"].get("lengths")
    if picture:
        out += [f"![time a token against the length of the sequence]({picture})", ""]
    if run is None:
        return
    out += ["## Lengths", "", "| length | tokens/s |", "|---|---|"]
    out += [f"| {row['length']:,} | {rate(row)} |" for row in run["results"]]
    out += ["", f"0.4B, {run['results'][0]['tokens']:,} tokens a step in one pass, full recompute; largest over "
            f"smallest {spread(run):.3f} (target 1.05).", ""]


def write_small(out, found):
    runs = [(name, found["runs"][name]) for name in ("6m", "44m") if name in found["runs"]]
    if not runs:
        return
    out += ["## Small models", "", "| model | tokens a step | tokens/s | ms a step |", "|---|---|---|---|"]
    out += [f"| {name} | {row['tokens']:,} | {rate(row)} | {1e3 * row['seconds_median']:.2f} |"
            for name, run in runs for row in run["results"]]
    out.append("")


def write_graphs(out, found):
    if not found.get("graphs"):
        return
    out += ["## A pass as a CUDA graph", "", "`tnl bench train` with and without `--no-replay`, twice in "
            "turns, tokens/s:", "", "| model, tokens a step, length | launched one by one | as a graph "
            "| gain of the means |", "|---|---|---|---|"]
    for row in found["graphs"]:
        single, replayed = row["single"], row["replayed"]
        if not single or not replayed:
            continue
        chunk = f" in chunks of {row['chunk']:,}" if row["chunk"] else ""
        gain = sum(replayed) * len(single) / (sum(single) * len(replayed)) - 1
        rates = [" and ".join(f"{rate:,.0f}" for rate in rates) for rates in (single, replayed)]
        out.append(f"| {row['model']}, {row['tokens']:,}, {row['length']:,}{chunk} | {rates[0]} | "
                   f"{rates[1]} | {100 * gain:+.1f} % |")
    out.append("")


def plot(tnl, path, found):
    """Draws the picture of constant speed with the command `tnl`; whether there is anything to draw."""
    curves = {"tnl, all kept": "none", "tnl, full recompute": "lengths", "tnl, chunks of 32K": "chunks"}
    runs = {title: found["runs"][name] for title, name in curves.items() if name in found["runs"]}
    if not runs:
        return False
    for kind, title in (("tnl", "PyTorch with fla"), ("llama", "LLaMA in PyTorch")):
        rows = [{"length": row["length"], "tokens": 1, "seconds_median": 1 / row["tokens_per_second"]}
                for row in found["peers"].get(SMALL, {}).get("rows", []) if row["kind"] == kind]
        if rows:
            runs[title] = {"results": rows}
    device = next(iter(found["runs"].values()))["device"]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, (title, run) in enumerate(runs.items()):
            files.append(pathlib.Path(folder) / f"{i}.json")
            files[-1].write_text(json.dumps({**run, "name": title}))
        subprocess.run([tnl, "plot", "--output", path, "--title",
                        f"Time a token of training, 0.4B parameters, one {device}", "--speed", *files],
                       check=True, stdout=subprocess.DEVNULL)
    return True


def render(found, picture, notes):
    first = next(iter(found["runs"].values()))
    out = [f"# Training on one {short_name(first['device'])}", "",
           f"{first['device']}, {found['date']}, by `bench/train_table.py`. bf16 parameters and "
           "activations, fp32 gradients, master weights and moments; a step is forward, backward, "
           "gradient norm, clipping and AdamW on random tokens; medians.", ""]
    write_speed(out, found)
    write_chunks(out, found)
    write_lengths(out, found, picture)
    write_memory(out, found)
    write_small(out, found)
    write_graphs(out, found)
    return "\n".join(out) + ("\n" + notes if notes else "")
