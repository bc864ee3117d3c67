"""Builds the directory in which the commands of docs/errors.md run: good inputs, and beside them
one copy for every way of being wrong."""
import base64
import gzip
import json
import os
import pathlib
import shutil
import struct
import subprocess

CONFIG = {"vocab_size": 258, "decoder_embed_dim": 16, "decoder_layers": 2,
          "decoder_attention_heads": 2, "hidden_dim": 16, "glu_dim": 24,
          "linear_use_lrpe_list": [1, 0]}
NAN32 = struct.pack("<f", float("nan"))
INF32 = struct.pack("<f", float("inf"))


def read_tensors(path):
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    data = content[8 + size:]
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def write_tensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Builder:
    def __init__(self, root, tnl, test_data):
        self.root = pathlib.Path(root)
        self.tnl = tnl
        self.test_data = pathlib.Path(test_data)

    def run(self, *arguments):
        done = subprocess.run([self.tnl, *arguments], cwd=self.root, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"tnl {' '.join(arguments)}: {done.stderr}")

    def write(self, name, content=""):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def copy(self, source, name):
        shutil.copytree(self.root / source, self.root / name, symlinks=True)
        return self.root / name

    def build(self):
        self.good()
        self.odd_files()
        self.configurations()
        self.weights()
        self.sharded_weights()
        self.tokenizers()
        self.documents()
        self.datasets()
        self.runs()
        self.oracles()
        self.sessions()
        self.tasks()

    def good(self):
        line = "the cat sat on the mat, and then it slept.\n"
        self.write("text.txt", line * 200)
        self.write("shape/config.json", json.dumps(CONFIG))
        self.run("data", "pack", "text.txt", "-t", "bytes", "-o", "packed", "--held-out", "0.1")
        self.run("train", "--data", "packed", "--run", "run", "--config", "shape", "--steps", "2",
                 "--batch-tokens", "64", "--sequence-length", "32", "--threads", "1")
        shutil.copytree(self.root / "run" / "model", self.root / "model")
        shutil.copytree(self.test_data / "tnl-a", self.root / "released")

    def odd_files(self):
        self.write("empty.txt")
        (self.root / "empty-folder").mkdir()
        os.mkfifo(self.root / "pipe")
        (self.root / "circle").symlink_to("circle-2")
        (self.root / "circle-2").symlink_to("circle")
        self.write("closed.txt", "secret\n")
        (self.root / "closed.txt").chmod(0)

    def configurations(self):
        def config(name, content):
            folder = self.copy("model", name)
            (folder / "config.json").unlink()
            self.write(f"{name}/config.json", content)

        config("config-empty", "")
        config("config-no-json", "{\"vocab_size\": 258,")
        config("config-deep", '{"vocab_size": ' + "[" * 100000 + "]" * 100000 + "}")
        config("config-large", " " * (1 << 21) + json.dumps(CONFIG))
        config("config-missing-field", json.dumps({k: v for k, v in CONFIG.items()
                                                   if k != "decoder_layers"}))
        config("config-wrong-type", json.dumps({**CONFIG, "glu_dim": "wide"}))
        config("config-huge", json.dumps({**CONFIG, "vocab_size": 10**15}))
        config("config-beyond-64-bits", json.dumps({**CONFIG, "glu_dim": 2**64 - 1}))
        config("config-giant-model", json.dumps({
            **CONFIG, "decoder_layers": 10000, "linear_use_lrpe_list": [0] * 10000,
            "decoder_embed_dim": 1 << 24, "hidden_dim": 1 << 24}))
        config("config-heads", json.dumps({**CONFIG, "decoder_attention_heads": 3}))
        config("config-lrpe-list", json.dumps({**CONFIG, "linear_use_lrpe_list": [1]}))
        config("config-not-finite", json.dumps(CONFIG)[:-1] + ', "init_std": NaN}')
        config("config-other-model", json.dumps({**CONFIG, "model_type": "llama"}))
        folder = self.copy("model", "config-circle")
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to("config.json")
        folder = self.copy("model", "config-is-folder")
        (folder / "config.json").unlink()
        (folder / "config.json").mkdir()
        folder = self.copy("model", "config-closed")
        (folder / "config.json").chmod(0)

    def weights(self):
        good = (self.root / "model" / "model.safetensors").read_bytes()
        tensors = read_tensors(self.root / "model" / "model.safetensors")
        first = "model.embed_tokens.weight"

        def raw(name, content):
            folder = self.copy("model", name)
            (folder / "model.safetensors").write_bytes(content)

        def changed(name, **replaced):
            folder = self.copy("model", name)
            mine = {k: replaced["tensor"] if k == first and "tensor" in replaced else v
                    for k, v in tensors.items()}
            mine.update(replaced.get("more", {}))
            for gone in replaced.get("without", []):
                del mine[gone]
            write_tensors(folder / "model.safetensors", mine)

        raw("weights-empty", b"")
        raw("weights-cut", good[:-100])
        raw("weights-longer", good + bytes(64))
        raw("weights-huge-header", struct.pack("<Q", 1 << 62) + good[8:])
        raw("weights-no-json", struct.pack("<Q", 8) + b"{\"a\": 1," + bytes(8))
        raw("weights-text", b"version https://git-lfs.github.com/spec/v1\n")
        dtype, shape, content = tensors[first]
        changed("weights-other-shape", tensor=(dtype, [16, 258], content))
        changed("weights-integers", tensor=("I32", shape, content))
        changed("weights-unknown-type", tensor=("F8_E4M3", shape, content[:258 * 16]))
        changed("weights-wrong-size", tensor=(dtype, [257, 16], content))
        changed("weights-huge-extent", tensor=(dtype, [1 << 62, 16], content))
        changed("weights-nan", tensor=(dtype, shape, content[:40] + NAN32 + content[44:]))
        changed("weights-infinite", tensor=(dtype, shape, content[:-4] + INF32))
        changed("weights-missing", without=[first])
        changed("weights-unknown", more={"surprise\x1b[2J": ("F32", [1], bytes(4))})
        header = {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                  "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}
        text = json.dumps(header).encode()
        raw("weights-overlap", struct.pack("<Q", len(text)) + text + bytes(6))
        text = text.replace(b"[2, 6]", b"[5, 9]")
        raw("weights-gap", struct.pack("<Q", len(text)) + text + bytes(9))
        for name, make in (("weights-circle", lambda p: p.symlink_to(p.name)),
                           ("weights-pipe", os.mkfifo), ("weights-folder", os.mkdir),
                           ("weights-gone", lambda p: None)):
            folder = self.copy("model", name)
            (folder / "model.safetensors").unlink()
            make(folder / "model.safetensors")

    def sharded_weights(self):
        tensors = list(read_tensors(self.root / "model" / "model.safetensors").items())
        shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

        def sharded(name, index, parts):
            folder = self.copy("model", name)
            (folder / "model.safetensors").unlink()
            (folder / "model.safetensors.index.json").write_text(index)
            for shard, part in zip(shards, parts):
                write_tensors(folder / shard, dict(part))

        weight_map = {name: shards[i > 3] for i, (name, _) in enumerate(tensors)}
        index = json.dumps({"weight_map": weight_map})
        sharded("index-no-json", "weights", [])
        sharded("index-outside", index.replace(shards[1], "../model.safetensors"), [tensors[:4]])
        sharded("index-shard-gone", index, [tensors[:4]])
        sharded("index-twice", index, [tensors[:5], tensors[4:]])

    def tokenizers(self):
        def tokenizer(name, vocabulary, merges):
            self.write(f"{name}/vocab.json", vocabulary)
            self.write(f"{name}/merges.txt", merges)

        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        other = [b for b in range(256) if b not in printable]
        letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(other))]
        vocabulary = {token: i for i, token in enumerate(letters + ["th"])}
        tokenizer("gpt2-no-json", "{", "")
        tokenizer("gpt2-few", json.dumps({"a": 0, "b": 1}), "")
        tokenizer("gpt2-id-twice", json.dumps({**vocabulary, "th": 0}), "")
        tokenizer("gpt2-merge-unknown", json.dumps(vocabulary), "#version: 0.2\nt h\nth e\n")
        tokenizer("gpt2-merge-one-part", json.dumps(vocabulary), "#version: 0.2\nth\n")
        json_file = {"model": {"type": "BPE", "vocab": vocabulary, "merges": ["t h"]},
                     "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
                     "decoder": {"type": "ByteLevel"}}
        self.write("cut.json", json.dumps(json_file)[:-9])
        self.write("deep.json", "[" * 100000)
        self.write("other.json", json.dumps({**json_file, "model": {"type": "WordPiece"}}))
        self.write("merge.json", json.dumps({**json_file, "model": {
            "type": "BPE", "vocab": vocabulary, "merges": ["t h", "th e"]}}))
        ranks = [base64.b64encode(bytes([b])).decode() + f" {b}\n" for b in range(256)]
        self.write("base64.tiktoken", "".join(ranks[:-1]) + "?? 255\n")
        self.write("twice.tiktoken", "".join(ranks) + "dGg= 255\n")
        self.write("few.tiktoken", "".join(ranks[:9]))
        self.write("text.gguf", "some text")
        self.write("cut.gguf", struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 20) + b"general.na")
        self.write("huge.gguf", struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1 << 60, 1 << 61))
        self.write("damaged.model", b"\x0a\xff\xff\xff\xff\x0f")
        self.write("empty.model")
        self.write("rules.model", sentencepiece_model(rules=outside_rules()))
        self.write("null-piece.model", sentencepiece_model(extra=b"a\0b"))
        self.write("ids.txt", "72 101 999\n")
        self.write("words.txt", "72 101 hello\n")

    def documents(self):
        text = b"some text\n" * 1000
        self.write("binary.txt", b"some\0thing")
        self.write("cut.txt.gz", gzip.compress(text)[:-20])
        self.write("damaged.txt.gz", gzip.compress(text)[:40] + b"\xff" * 40)
        self.write("no.txt.gz", text)
        self.write("no.txt.zst", text)
        self.write("bad.jsonl", '{"text": "one"}\n{"text": \n')
        self.write("no-field.jsonl", '{"text": "one"}\n{"content": "two"}\n')
        self.write("number.jsonl", '{"text": 3}\n')
        self.write("list.jsonl", '["text"]\n')
        self.write("deep.jsonl", '{"text": ' + "[" * 100000 + "\n")

    def datasets(self):
        shard = (self.root / "packed" / "train-00000.bin").read_bytes()
        index = json.loads((self.root / "packed" / "index.json").read_text())

        def dataset(name, shard_bytes=shard, **edits):
            folder = self.copy("packed", name)
            (folder / "train-00000.bin").write_bytes(shard_bytes)
            mine = json.loads(json.dumps(index))
            mine.update(edits.get("top", {}))
            mine["splits"]["train"].update(edits.get("train", {}))
            mine["splits"]["train"]["shards"][0].update(edits.get("shard", {}))
            (folder / "index.json").write_text(json.dumps(mine))
            return folder

        dataset("packed-cut", shard[:-8])
        dataset("packed-longer", shard + bytes(8))
        dataset("packed-huge", shard[:16] + struct.pack("<Q", 1 << 57) + shard[24:])
        dataset("packed-empty-shard", b"")
        dataset("packed-version", shard[:8] + struct.pack("<I", 9) + shard[12:])
        dataset("packed-flipped", shard[:70] + bytes([shard[70] ^ 1]) + shard[71:])
        dataset("packed-token", shard[:64] + b"\xff\xff" + shard[66:])
        dataset("packed-boundary", shard[:-8] + struct.pack("<Q", 1 << 40))
        dataset("packed-outside", shard={"file": "../text.txt"})
        dataset("packed-other-sum", shard={"checksum": "0" * 16})
        dataset("packed-sum", train={"tokens": 7})
        dataset("packed-negative", train={"tokens": -1})
        dataset("packed-index-version", top={"version": 2})
        (dataset("packed-no-index") / "index.json").write_text("{}")
        (dataset("packed-shard-gone") / "train-00000.bin").unlink()
        shutil.rmtree(dataset("packed-no-tokenizer") / "tokenizer")

    def runs(self):
        self.write("settings-unknown.json", '{"step": 3}')
        self.write("settings-type.json", '{"steps": "many"}')
        self.write("settings-list.json", "[1, 2]")
        self.write("settings-deep.json", "[" * 100000)
        self.write("settings-large.json", " " * (1 << 21))
        self.write("other-vocabulary/config.json", json.dumps({**CONFIG, "vocab_size": 300}))
        state = "checkpoints/step-00000002/state.json"
        (self.copy("run", "run-damaged") / state).write_text("{")
        optimizer = self.copy("run", "run-cut") / "checkpoints/step-00000002/optimizer.safetensors"
        optimizer.write_bytes(optimizer.read_bytes()[:-4])
        other = self.copy("run", "run-other-data")
        settings = json.loads((other / "run.json").read_text())
        self.write("other.txt", "other words\n" * 300)
        self.run("data", "pack", "other.txt", "-t", "bytes", "-o", "other", "--held-out", "0.1")
        settings.update(data=str(self.root / "other"), steps=4)
        (other / "run.json").write_text(json.dumps(settings))
        (self.copy("run", "run-no-json") / "run.json").write_text("steps: 3")
        (self.copy("run", "run-metrics") / "metrics.jsonl").write_text('{"step": 1}\nno json\n')
        (self.copy("run", "run-old") / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')

    def oracles(self):
        tensors = read_tensors(self.root / "released" / "oracle.safetensors")

        def oracle(name, change):
            mine = dict(tensors)
            change(mine)
            write_tensors(self.root / name, mine)

        dtype, shape, content = tensors["input_ids"]
        oracle("oracle-no-ids.safetensors", lambda t: t.pop("input_ids"))
        oracle("oracle-id.safetensors", lambda t: t.update(
            input_ids=(dtype, shape, struct.pack("<q", 1 << 40) + content[8:])))
        oracle("oracle-type.safetensors", lambda t: t.update(
            input_ids=("F32", [2, len(content) // 8], content)))
        oracle("oracle-shape.safetensors", lambda t: t.update(
            logits=("F32", [1, 1, 1], bytes(4))))
        oracle("oracle-unknown.safetensors", lambda t: t.update(extra=("F32", [1], bytes(4))))

    def sessions(self):
        self.run("generate", "--model", "model", "-p", "x", "-n", "3", "--seed", "1",
                 "--save-state", "good.session", "--threads", "1")
        good = (self.root / "good.session").read_bytes()
        (self.root / "good.session").unlink()
        self.write("cut.session", good[:-8])
        self.write("flipped.session", good[:-100] + bytes([good[-100] ^ 1]) + good[-99:])
        self.write("version.session", good[:8] + struct.pack("<I", 9) + good[12:])
        other = struct.pack("<Q", 1) + good[32:-8]
        self.write("other.session", good[:24] + other + struct.pack("<Q", checksum(good[:24] + other)))

    def tasks(self):
        item = {"context": "Water is", "choices": ["wet", "dry"], "gold": 0}
        self.write("item-no-json.jsonl", json.dumps(item) + "\n{\n")
        self.write("item-gold.jsonl", json.dumps({**item, "gold": 2}))
        self.write("item-no-choice.jsonl", json.dumps({"context": "x"}))


def checksum(data):
    """That of src/core/checksum.h."""
    total = 0x243F6A8885A308D3
    for (word,) in struct.iter_unpack("<Q", data):
        total = ((total ^ word) * 0x9E3779B97F4A7C15) & (2**64 - 1)
        total = (total << 29 | total >> 35) & (2**64 - 1)
    return total


def outside_rules():
    """A table of replacements whose first offset points outside of it."""
    units = struct.pack("<256I", 0xFFFFFF << 10 & 0x7FFFFFFF, *[0] * 255)
    return struct.pack("<I", len(units)) + units + b"a\0"


def sentencepiece_model(extra=b"b", rules=b""):
    def varint(value):
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    def message(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    def piece(text, kind):
        return message(1, message(1, text) + varint(2 << 3 | 5) + bytes(4) + varint(3 << 3)
                       + varint(kind))

    return (piece(b"<unk>", 2) + piece(b"a", 1) + piece(extra, 1)
            + (message(3, message(2, rules)) if rules else b""))
