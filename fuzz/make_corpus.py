#!/usr/bin/env python3
"""Writes the seed corpora, fuzz/corpus/TARGET/NAME: small well-formed files and some just beside it.

The same files every time. What a campaign found stands beside them under a name found-*, by hand.
"""
import base64
import gzip
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def put(target, name, content):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


# Safetensors ---------------------------------------------------------------------------------


def safetensors(entries, metadata=None):
    """entries: name -> (dtype, shape, bytes)."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, content) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def seed_safetensors():
    two = {"a": ("F32", [2, 3], bytes(24)), "b": ("BF16", [4], bytes(range(8)))}
    put("safetensors", "two", safetensors(two, {"format": "pt"}))
    kinds = ("F64", 8), ("F32", 4), ("BF16", 2), ("F16", 2), ("I64", 8), ("I32", 4), ("U8", 1)
    put("safetensors", "types", safetensors({n: (n, [2], bytes(2 * b)) for n, b in kinds}))
    put("safetensors", "scalar-and-empty",
        safetensors({"s": ("F32", [], bytes(4)), "e": ("F32", [0, 2], b"")}))
    put("safetensors", "none", safetensors({}))
    put("safetensors", "rank5", safetensors({"r": ("U8", [1, 1, 1, 1, 2], bytes(2))}))
    put("safetensors", "truncated", safetensors(two)[:-1])
    overlap = {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
               "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}
    text = json.dumps(overlap).encode()
    put("safetensors", "overlap", struct.pack("<Q", len(text)) + text + bytes(6))


# JSON ----------------------------------------------------------------------------------------

CONFIG = {"model_type": "transnormer", "vocab_size": 5, "decoder_embed_dim": 4,
          "decoder_layers": 1, "decoder_attention_heads": 1, "hidden_dim": 4, "glu_dim": 4,
          "linear_act_fun": "silu", "linear_use_lrpe_list": [1], "norm_type": "simplermsnorm",
          "no_scale_embedding": False, "tie_word_embeddings": True, "bias": False,
          "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None, "init_std": 0.02}


def seed_model_config():
    put("model_config", "tnl", json.dumps(CONFIG))
    put("model_config", "tnl3", json.dumps({**CONFIG, "gate_dim": 2, "tnl_norm_eps": 1e-8,
                                            "tnl_attention_scale": 0.5,
                                            "tnl_slopes": "paper-linear"}))
    put("model_config", "few", json.dumps({k: CONFIG[k] for k in (
        "vocab_size", "decoder_embed_dim", "decoder_layers", "decoder_attention_heads")}))
    put("model_config", "large", json.dumps({**CONFIG, "vocab_size": 1 << 24, "glu_dim": -1,
                                             "decoder_embed_dim": 1 << 24}))


def seed_model_index():
    names = ["model.embed_tokens.weight", "model.layers.0.token_mixer.qkvu_proj.weight",
             "model.layers.0.token_mixer.lrpe.theta", "model.layers.0.token_mixer.out_proj.weight",
             "model.layers.0.channel_mixer.l1.weight"]
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weights = {name: shards[i > 1] for i, name in enumerate(names)}
    index = {"metadata": {"total_size": 512}, "weight_map": weights}
    put("model_index", "two-shards", json.dumps(index))
    put("model_index", "outside", json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    layer = "model.layers.0."
    shard = safetensors({layer + name: ("F32", [4, 4], bytes(64)) for name in (
        "token_mixer.out_proj.weight", "channel_mixer.l1.weight", "channel_mixer.l2.weight",
        "channel_mixer.l3.weight")})
    put("model_index", "shard", json.dumps(index).encode() + b"\0" + shard)


def seed_train_config():
    put("train_config", "some", json.dumps({"data": "packed", "steps": 500, "learning_rate": 2e-3}))
    put("train_config", "more", json.dumps({
        "data": "packed", "config": "config.json", "paper_slopes": True, "schedule": "wsd",
        "wsd_decay": 0.5, "clip": 0, "seed": 18446744073709551615, "beta2": 0.99}))
    put("train_config", "unknown", json.dumps({"step": 3}))
    put("train_config", "empty", "{}")


def seed_dataset_index():
    shard = {"file": "train-00000.bin", "tokens": 10, "documents": 2, "bytes": 112,
             "checksum": "0123456789abcdef"}
    index = {"format": "tnl-tokens", "version": 1,
             "tokenizer": {"kind": "bytes", "vocab_size": 258},
             "splits": {"train": {"tokens": 10, "documents": 2, "bytes": 9, "shards": [shard]},
                        "heldout": {"tokens": 0, "documents": 0, "bytes": 0, "shards": []}}}
    put("dataset_index", "one-shard", json.dumps(index))
    text = json.dumps(index).replace("train-00000.bin", "../x")
    put("dataset_index", "outside", text)
    put("dataset_index", "version", json.dumps({**index, "version": 2}))


def seed_metrics():
    line = {"step": 1, "loss": 5.5, "learning_rate": 1e-3, "gradient_norm": 1.0,
            "tokens_per_second": 100.0, "seconds": 0.5}
    lines = [line, {**line, "step": 2, "loss": None, "skipped": True},
             {**line, "step": 3, "held_out_loss": 5.25, "held_out_bits_per_byte": 2.5},
             {**line, "step": 4}]
    text = "".join(json.dumps(entry) + "\n" for entry in lines)
    put("metrics", "four", text)
    put("metrics", "torn", text[:-20])
    put("metrics", "none", "")


def seed_byte_tokenizer():
    put("byte_tokenizer", "bytes", '{"kind": "bytes"}\n')
    put("byte_tokenizer", "other", '{"kind": "gpt2"}')


# Tokenizers ----------------------------------------------------------------------------------


def gpt2_alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(other)}}


def seed_gpt2():
    letters = gpt2_alphabet()
    tokens = list(letters.values()) + ["th", "the", "Ġthe", "<|endoftext|>"]
    vocabulary = json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False)
    put("gpt2", "small", vocabulary.encode() + b"\0#version: 0.2\nt h\nth e\n\xc4\xa0 the\n")
    put("gpt2", "no-merges", vocabulary.encode() + b"\0")
    put("gpt2", "few", b'{"a": 0, "b": 1}\0a b\n')


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text, score, kind=1):
    return field(1, field(1, text) + field(2, score) + field(3, kind))


def charsmap():
    """One rule, A -> a, as a double array of 256 units and its replacement."""
    units = [0] * 256
    units[0] = 0  # the root: its children stand at 0 ^ byte
    units[0x41] = 0x41 | 1 << 8 | (0x41 ^ 0x80) << 10  # after A: a value, at 0x80
    units[0x80] = 1 << 31 | 0
    trie = struct.pack("<256I", *units)
    return struct.pack("<I", len(trie)) + trie + b"a\0"


def sentencepiece(kind, byte_fallback, normalizer):
    words = ["\u2581the", "th", "he", "\u2581", "e", "t", "h", "a", "b", "at"]
    model = piece("<unk>", 0.0, 2) + piece("<s>", 0.0, 3) + piece("</s>", 0.0, 3)
    if byte_fallback:
        model += b"".join(piece(f"<0x{b:02X}>", 0.0, 6) for b in range(256))
    model += b"".join(piece(word, -float(i)) for i, word in enumerate(words))
    trainer = field(3, kind) + (field(35, 1) if byte_fallback else b"")
    return model + field(2, trainer) + field(3, normalizer)


def seed_sentencepiece():
    keep = field(3, 0) + field(4, 0) + field(5, 1)  # no prefix, spaces as they are
    put("sentencepiece", "bpe-bytes", sentencepiece(2, True, keep))
    put("sentencepiece", "unigram-bytes", sentencepiece(1, True, keep))
    put("sentencepiece", "prefix-bytes", sentencepiece(2, True, field(3, 1) + field(4, 0)))
    put("sentencepiece", "unigram", sentencepiece(1, False, b""))
    put("sentencepiece", "word", sentencepiece(3, False, b""))
    put("sentencepiece", "char", sentencepiece(4, False, b""))
    put("sentencepiece", "rules", sentencepiece(1, False, field(2, charsmap())))
    put("sentencepiece", "denormalizer", sentencepiece(1, False, b"") + field(5, field(2, charsmap())))


def seed_tokenizer_json():
    tokens = list(gpt2_alphabet().values()) + ["th", "the", "Ġthe"]
    model = {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)},
             "merges": ["t h", "th e", "Ġ the"]}
    end = {"id": len(tokens), "content": "<|endoftext|>", "special": True, "single_word": False,
           "lstrip": False, "rstrip": False, "normalized": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    whole = {"added_tokens": [end], "normalizer": None, "pre_tokenizer": level,
             "decoder": {"type": "ByteLevel"}, "model": model}
    names = json.dumps({"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>"}})

    def write(name, value, config=""):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        put("tokenizer_json", name, text + (b"\0" + config.encode() if config else b""))

    write("plain", whole)
    write("names", whole, names)
    write("pairs", {**whole, "model": {**model, "merges": [["t", "h"], ["th", "e"]],
                                       "ignore_merges": True}})
    write("nfc", {**whole, "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}})
    split = {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"Regex": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")}}
    write("split", {**whole, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        split, {**level, "use_regex": False}]}})
    write("prefix", {**whole, "pre_tokenizer": {**level, "add_prefix_space": True}})
    write("other", {**whole, "model": {**model, "type": "WordPiece"}})


def seed_tiktoken():
    tokens = [bytes([b]) for b in range(256)] + [b"th", b"the", b" the"]
    ranks = b"".join(base64.b64encode(t) + f" {i}\n".encode() for i, t in enumerate(tokens))
    config = {"words": "cl100k", "special_tokens": {"<|endoftext|>": 300}, "bos_token": None,
              "eos_token": "<|endoftext|>"}
    put("tiktoken", "cl100k", ranks + b"\0" + json.dumps(config).encode())
    put("tiktoken", "gpt2", ranks + b"\0" + json.dumps({"words": "gpt2"}).encode())
    put("tiktoken", "rank-twice", ranks + b"dGg= 256\n\0" + json.dumps(config).encode())


def gguf_value(value):
    if isinstance(value, str):
        return 8, struct.pack("<Q", len(value.encode())) + value.encode()
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    kind = gguf_value(value[0])[0]
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(gguf_value(v)[1] for v in value)


def gguf(version, values):
    content = struct.pack("<4sIQQ", b"GGUF", version, 0, len(values))
    for key, value in values.items():
        kind, data = gguf_value(value)
        content += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + data
    return content


def seed_gguf():
    tokens = ["<unk>", "<s>", "</s>", "\u2581the", "th", "he", "\u2581", "e", "t", "h"]
    values = {"general.name": "small", "tokenizer.ggml.model": "llama",
              "tokenizer.ggml.tokens": tokens,
              "tokenizer.ggml.scores": [0.0] * 3 + [-float(i) for i in range(7)],
              "tokenizer.ggml.token_type": [2, 3, 3] + [1] * 7,
              "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
              "tokenizer.ggml.add_space_prefix": True}
    put("gguf", "small", gguf(3, values))
    put("gguf", "version2", gguf(2, values))
    put("gguf", "other", gguf(3, {**values, "tokenizer.ggml.model": "gpt2"}))


# Shards, checkpoints, documents --------------------------------------------------------------


def checksum(data):
    total = 0x243F6A8885A308D3
    for (word,) in struct.iter_unpack("<Q", data):
        total = ((total ^ word) * 0x9E3779B97F4A7C15) & (2**64 - 1)
        total = (total << 29 | total >> 35) & (2**64 - 1)
    return total


def shard(documents, vocab_size):
    code, size = ("H", 2) if vocab_size <= 65536 else ("I", 4)
    tokens = [token for document in documents for token in document]
    body = struct.pack(f"<{len(tokens)}{code}", *tokens)
    body += bytes(-len(body) % 8)
    offsets = [0]
    for document in documents:
        offsets.append(offsets[-1] + len(document))
    body += struct.pack(f"<{len(offsets)}Q", *offsets)
    return struct.pack("<8sII4Q16x", b"tnltoks\n", 1, size, len(tokens), len(documents),
                       checksum(body), vocab_size) + body


def seed_shard():
    documents = [[1, 2, 3, 4, 5], [], [6], [7, 8, 9, 10]]
    put("shard", "narrow", shard(documents, 258))
    put("shard", "wide", shard(documents, 70000))
    put("shard", "empty", shard([], 258))
    damaged = bytearray(shard(documents, 258))
    damaged[-8:] = struct.pack("<Q", 1 << 40)
    put("shard", "boundary", bytes(damaged))


def seed_checkpoint():
    # The target puts what it wrote in the place of the empty object of files.
    state = {"format": 1, "step": 3, "updates": 3, "skipped": 0, "skipped_in_a_row": 0,
             "seconds": 1.5, "held_out_loss": 2.5, "held_out_bits_per_byte": None,
             "loader": "0 1 0 123", "dataset_fingerprint": "0123456789abcdef", "device": "cpu",
             "config_fingerprint": "01234567", "files": {}}
    put("checkpoint", "state", json.dumps(state))
    moments = {f"{moment}_moment.model.embed_tokens.weight": ("F32", [20], bytes(80))
               for moment in ("first", "second")}
    put("checkpoint", "optimizer", json.dumps(state).encode() + b"\0" + safetensors(moments))


def seed_session():
    def edits(*changes, last=1):
        return b"".join(struct.pack("<HB", place, value) for place, value in changes) + bytes([last])

    put("session", "as-saved", edits())
    put("session", "checksum", edits((200, 7), last=0))
    put("session", "cut", edits(last=2 | 31 << 2))
    put("session", "version", edits((8, 9)))
    put("session", "position", edits((38, 255), (39, 255)))
    put("session", "token", edits((128 + 1, 255)))


def seed_matmul_choices():
    product = "0 32768 4096 1024 1024 1024 4096 2 2 256 256 256 0 42 1b 0 3 ffffffffffffffff 0 0 1"
    other = "2" + product[1:]
    for name, text in (("two", f"cublaslt 130001\n{product}\n{other}\n"), ("none", "cublaslt 1"),
                       ("twice", f"cublaslt 1\n{product}\n{product}"),
                       ("cut", f"cublaslt 1\n{product[:40]}"), ("heading", f"{product}\n")):
        put("matmul_choices", name, text)


FORMATS = ["items", "arc", "blimp", "boolq", "copa", "hellaswag", "lambada", "mmlu", "openbookqa",
           "piqa", "siqa", "winogrande", "wsc"]


def seed_task():
    def write(name, form, text):
        put("task", name, bytes([FORMATS.index(form)]) + text.encode())

    items = [{"context": "Water is", "choices": ["wet", "dry"], "gold": 0, "subject": "x"},
             {"contexts": ["a b", "a c"], "continuation": "d", "gold": 1, "delimiter": ""},
             {"context": "The dog ran after the", "continuation": "cat", "prefix": "p"}]
    write("items", "items", "".join(json.dumps(item) + "\n" for item in items))
    write("gold", "items", json.dumps({**items[0], "gold": 2}))
    write("blimp", "blimp", json.dumps({"sentence_good": "a", "sentence_bad": "b", "UID": "u"}))
    question = {"query": "Passage: p\nQuestion: q", "choices": ["no", "yes"], "gold": 1}
    for form in ("boolq", "piqa", "arc", "openbookqa"):
        write(form, form, json.dumps(question) + "\n")
    write("lambada", "lambada", json.dumps({"context": "a b", "continuation": "c"}))
    write("winogrande", "winogrande", json.dumps(
        {"context_options": ["a", "b"], "continuation": "c", "gold": 0}))
    write("hellaswag", "hellaswag", "label: he\n2\none\ntwo\nthree\nfour\n")
    write("mmlu", "mmlu", '"a ""q"" here",w,x,y,z,B\nq,"w,w",x,y,z,3\n')
    write("siqa", "siqa", json.dumps([{"instruction":
        "Please choose the correct answer to the question: q\n\nAnswer1: a Answer2: b Answer3: c"
        "\n\nAnswer format: answer1/answer2/answer3", "answer": "answer2"}]))


def zstd_frame(data):
    """One raw block."""
    header = (len(data) << 3 | 1).to_bytes(3, "little")
    return struct.pack("<I", 0xFD2FB528) + bytes([0x20, len(data)]) + header + data


def seed_documents():
    text = b"one two three\nfour five<>\nsix\n<><>seven \xff\xc3\xa9"
    lines = b'{"text": "one"}\n\n{"text": "two \\u00e9"}\n{"text": "last"}'
    gz = gzip.compress(text, mtime=0)
    for choice, name, content in ((0, "text", text), (8, "separators", text),
                                  (16 + 8, "blocks", text), (32 + 8, "small-reads", text),
                                  (1, "records", lines), (32 + 1, "records-small", lines),
                                  (2, "gzip", gz), (2, "gzip-two", gz + gz), (2, "gzip-cut", gz[:-9]),
                                  (3, "records-gzip", gzip.compress(lines, mtime=0)),
                                  (4, "zstd", zstd_frame(text)), (5, "records-zstd", zstd_frame(lines)),
                                  (0, "binary", b"a\0b")):
        put("documents", name, bytes([choice]) + content)


if __name__ == "__main__":
    for name, seed in list(globals().items()):
        if name.startswith("seed_"):
            seed()
