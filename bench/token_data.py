#!/usr/bin/env python3
"""Reads what `tnl data pack` wrote, in the order in which `tnl train` reads it; standard library only.

    bench/token_data.py batches packed --sequence-length 512 --batch-tokens 32768 --count 20
    bench/token_data.py join --train packed --held-out validation --multiple 32768 -o joined

`batches` prints the first batches of a run as JSON, a line each. `join` makes a data set whose splits
are one document each: all documents of `--train` one behind the other, each with its end-of-text
token, and those of `--held-out`, cut at the end to a multiple of tokens. Every batch then consists of
whole sequences, as models need that take a batch as a rectangle.

Formats: src/text/shard.h and dataset_index.cc; the order: src/text/loader.cc and permutation.h.
"""

import argparse
import array
import bisect
import json
import mmap
import pathlib
import shutil
import struct
import sys

MASK = (1 << 64) - 1
MAGIC = b"tnltoks\n"
HEADER = struct.Struct("<8sIIQQQQ16x")  # 64 bytes
CHECKSUM_START = 0x243F6A8885A308D3
SPLITS = ("train", "heldout")


def mix64(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def checksum(data):
    """src/core/checksum.h, of a multiple of 8 bytes."""
    total = CHECKSUM_START
    for word in memoryview(data).cast("Q"):
        total = (total ^ word) * 0x9E3779B97F4A7C15 & MASK
        total = (total << 29 | total >> 35) & MASK
    return total


def permutation(n, key):
    """Place i of a seeded order of 0 .. n - 1: a Feistel network walked until it lands below n."""
    half = max(4, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = [mix64((key + number) & MASK) for number in range(6)]

    def place(i):
        while True:
            left, right = i >> half, i & mask
            for round_key in keys:
                left, right = right, left ^ (mix64(right ^ round_key) & mask)
            i = left << half | right
            if i < n:
                return i

    return place


class Shard:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, version, width, self.count, documents, _, self.vocab_size = HEADER.unpack(
            self.bytes[:HEADER.size])
        if magic != MAGIC or version != 1 or width not in (2, 4):
            raise SystemExit(f"{path}: not a file of packed tokens, or damaged")
        end = HEADER.size + width * self.count
        self.tokens = self.bytes[HEADER.size:end].cast("H" if width == 2 else "I")
        offsets = (end + 7) // 8 * 8
        self.offsets = self.bytes[offsets:offsets + 8 * (documents + 1)].cast("Q")


class Dataset:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.index = json.loads((self.directory / "index.json").read_text())
        self.vocab_size = self.index["tokenizer"]["vocab_size"]

    def shards(self, split):
        return [Shard(self.directory / entry["file"])
                for entry in self.index["splits"][split]["shards"]]


class Batches:
    """What DataLoader yields: lists of pieces (shard, first token in it, tokens, ends its document)."""

    def __init__(self, shards, sequence_length, batch_tokens, seed=1, once=False):
        self.batch_tokens, self.sequence_length = batch_tokens, sequence_length
        self.seed, self.once = seed, once
        self.documents, self.first, sequences = [], [], 0
        for shard in shards:
            for begin, end in zip(shard.offsets, shard.offsets[1:]):
                self.documents.append((shard, begin, end))
                self.first.append(sequences)
                sequences += -((begin - end) // sequence_length)
        self.sequences = sequences

    def pieces(self, number):
        document = bisect.bisect_right(self.first, number) - 1
        # Empty documents share their number with the next one that is not.
        shard, begin, end = self.documents[document]
        begin += (number - self.first[document]) * self.sequence_length
        stop = min(begin + self.sequence_length, end)
        return shard, begin, stop, stop == end

    def order(self):
        number = 0
        while True:
            key = mix64((mix64(self.seed) + number) & MASK)
            place = (lambda i: i) if self.once else permutation(self.sequences, key)
            yield from (self.pieces(place(i)) for i in range(self.sequences))
            if self.once:
                return
            number += 1

    def __iter__(self):
        batch, room = [], self.batch_tokens
        for shard, begin, end, ends in self.order():
            while begin < end:
                count = min(room, end - begin)
                batch.append((shard, begin, count, ends and begin + count == end))
                begin, room = begin + count, room - count
                if room == 0:
                    yield batch
                    batch, room = [], self.batch_tokens
        if batch:
            yield batch


def read(batch):
    """Token ids, targets (-1: none) and cu_seqlens of a batch."""
    tokens, targets, cu_seqlens = [], [], [0]
    for shard, begin, count, ends in batch:
        tokens += shard.tokens[begin:begin + count]
        targets += shard.tokens[begin + 1:begin + count + (0 if ends else 1)]
        targets += [-1] * ends
        cu_seqlens.append(len(tokens))
    return tokens, targets, cu_seqlens


def print_batches(arguments):
    shards = Dataset(arguments.directory).shards(arguments.split)
    batches = Batches(shards, arguments.sequence_length, arguments.batch_tokens, arguments.seed,
                      once=arguments.split == "heldout")
    for _, batch in zip(range(arguments.count), batches):
        tokens, targets, cu_seqlens = read(batch)
        json.dump({"tokens": tokens, "targets": targets, "cu_seqlens": cu_seqlens}, sys.stdout)
        print()


def write_document(path, shards, multiple):
    """One document out of all of them; its entry in the index."""
    tokens = array.array(shards[0].tokens.format)
    for shard in shards:
        tokens.frombytes(shard.tokens.tobytes())
    del tokens[len(tokens) // multiple * multiple:]
    if not tokens:
        raise SystemExit(f"{path}: fewer tokens than --multiple {multiple}")
    body = tokens.tobytes()
    body += bytes(-len(body) % 8) + struct.pack("<QQ", 0, len(tokens))
    total = checksum(body)
    header = HEADER.pack(MAGIC, 1, tokens.itemsize, len(tokens), 1, total, shards[0].vocab_size)
    path.write_bytes(header + body)
    return {"file": path.name, "tokens": len(tokens), "documents": 1,
            "bytes": len(header) + len(body), "checksum": f"{total:016x}"}


def join(arguments):
    output = pathlib.Path(arguments.output)
    if output.exists():
        raise SystemExit(f"{output} exists: expected a new directory")
    sources = [Dataset(arguments.train), Dataset(arguments.held_out)]
    if sources[0].vocab_size != sources[1].vocab_size:
        raise SystemExit("--train and --held-out were packed with different tokenizers")
    work = output.with_name(output.name + ".tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    index = dict(sources[0].index)
    index["splits"] = {}
    for split, source in zip(SPLITS, sources):
        entry = write_document(work / f"{split}-00000.bin", source.shards("train"),
                               arguments.multiple)
        packed = source.index["splits"]["train"]
        share = entry["tokens"] / packed["tokens"]  # the text of what was cut off is not known
        index["splits"][split] = {"tokens": entry["tokens"], "documents": 1,
                                  "bytes": round(packed["bytes"] * share), "shards": [entry]}
    shutil.copytree(sources[0].directory / "tokenizer", work / "tokenizer")
    (work / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    work.rename(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("batches", help="print the first batches of a run")
    show.add_argument("directory")
    show.add_argument("--sequence-length", type=int, default=512)
    show.add_argument("--batch-tokens", type=int, default=4096)
    show.add_argument("--seed", type=int, default=1)
    show.add_argument("--split", choices=SPLITS, default="train")
    show.add_argument("--count", type=int, default=1)
    show.set_defaults(call=print_batches)
    joined = commands.add_parser("join", help="make a data set of one document a split")
    joined.add_argument("--train", required=True, help="packed with --held-out 0")
    joined.add_argument("--held-out", required=True, help="likewise")
    joined.add_argument("--multiple", type=int, default=1)
    joined.add_argument("-o", "--output", required=True)
    joined.set_defaults(call=join)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
