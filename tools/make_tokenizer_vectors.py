#!/usr/bin/env python3
"""Writes tests/data/tokenizers: a small vocabulary in two formats, and what other programs encode with it.

The vocabulary is trained on this repository's own documentation. Its vectors come from the Python
packages tokenizers and tiktoken, which only this script needs:

    python3 -m venv venv && venv/bin/pip install tokenizers tiktoken
    venv/bin/python tools/make_tokenizer_vectors.py
"""
import base64
import json
import random
from pathlib import Path

import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "tokenizers"

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|"
LLAMA3 = CONTRACTIONS + LETTERS + r"\p{N}{1,3}" + REST
QWEN = CONTRACTIONS + LETTERS + r"\p{N}" + REST
TIKTOKEN = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
            r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s")

ADDED = [AddedToken("  "), AddedToken("    "), AddedToken("e\u0301t"), AddedToken("     \n", normalized=False),
         AddedToken("<x>", normalized=False), AddedToken("the", normalized=False)]

# name: what differs from the file base.json
CONFIGS = {
    "plain": {},
    "prefix": {"prefix": True},
    "llama3": {"split": LLAMA3, "ignore_merges": True},
    "qwen": {"split": QWEN, "nfc": True},
    "added": {"added": ADDED, "nfc": True},
    "added_prefix": {"added": ADDED, "prefix": True},
}

TEXTS = [
    "", "a", " ", "\n", "  \n  ", "a \n  ", "\t\tx", " x", "Hello, world!", "I'll we'VE it'S 'x y'\u017f'",
    "12345678 1\u00bd23 \u0663\u0664", "a_b(c) == d->e; // f\n\n\tg", "!\r\n\r\nx  \r\n \r y", "caf\u00e9 cafe\u0301 e\u0301t",
    "\u4f60\u597d\u4e16\u754c\u3000\u3002", "\U0001f468\u200d\U0001f469 \U0001f999\U0001f999", "a\u00a0\n b\u0085c\u2028\u2028d",
    "<x>the  then    other     \nthe<x>", "<|endoftext|> is text", "\u1100\u1161\u11a8 \u212b \ufb01 \u0958 \u1e9b\u0323",
    "\x00\x1c\x1f\x7f", "for (int i = 0; i < 10; ++i) {\n    sum += i;\n}\n", "word " * 30, "aaaaaaaaaaaaaaaa" * 8,
]


def documentation():
    for name in ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/math.md"]:
        yield from (ROOT / name).read_text(encoding="utf-8").splitlines(keepends=True)


def random_texts(count):
    rng = random.Random(1)
    pieces = [" ", "  ", "\n", "\r\n", "\t", "the", " of", "state", "'s", "'LL", "1", "123", "!", "?!", "()", "\u00e9",
              "e\u0301", "\u4f60", "\U0001f999", "\u00a0", "\u3000", "\u2028", "Z", "<x>", "\u017f", "\u0301", "'"]
    return ["".join(rng.choice(pieces) for _ in range(rng.randint(1, 25))) for _ in range(count)]


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(documentation(), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def configured(base, split=None, prefix=False, nfc=False, ignore_merges=False, added=()):
    tokenizer = Tokenizer.from_str(base.to_str())
    tokenizer.model.ignore_merges = ignore_merges
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    if split:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(list(added))
    tokenizer.encode_special_tokens = True  # special tokens in a text stay text
    return tokenizer


def byte_alphabet():
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    base = train()
    (OUT / "base.json").write_text(base.to_str() + "\n", encoding="utf-8")
    texts = TEXTS + random_texts(60)
    vectors = []
    for name, settings in CONFIGS.items():
        tokenizer = configured(base, **settings)
        parts = json.loads(tokenizer.to_str())
        vectors.append({
            "name": name,
            "pre_tokenizer": parts["pre_tokenizer"], "normalizer": parts["normalizer"],
            "added_tokens": parts["added_tokens"], "ignore_merges": settings.get("ignore_merges", False),
            "ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]})
    alphabet = byte_alphabet()
    ranks = {bytes(alphabet[c] for c in token): rank for token, rank in base.get_vocab(with_added_tokens=False).items()}
    (OUT / "base.tiktoken").write_text("".join(
        f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in sorted(ranks.items(), key=lambda item: item[1])))
    for name, pattern in {"cl100k": TIKTOKEN, "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"}.items():
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        vectors.append({"name": "tiktoken", "words": name, "ids": [encoding.encode_ordinary(text) for text in texts]})
    lines = [f'{{"texts": {json.dumps(texts)},', '"configs": [']
    lines.append(",\n".join(json.dumps(vector) for vector in vectors))
    (OUT / "vectors.json").write_text("\n".join(lines) + "]}\n")


main()
