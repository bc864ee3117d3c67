"""Model directories between PyTorch's .bin files and safetensors, either way: `tnl convert`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Dict, Iterable, List, Tuple, Union

import torch
from torch import Tensor

_CARRIED = (
    "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.json", "merges.txt", "encoder.json", "vocab.bpe", "added_tokens.json",
    "generation_config.json", "tnl_tokenizer.json",
)


class ConversionError(ValueError):
    """One sentence: which file or tensor, what was found and what was expected."""


def read_weights(directory: Union[str, Path]) -> Dict[str, Tensor]:
    """Every tensor of a model directory, from .safetensors or .bin, sharded or not."""
    directory = Path(directory)
    kind, files = _weight_files(directory)
    weights: Dict[str, Tensor] = {}
    for file in files:
        for name, tensor in _read_file(file, kind).items():
            if name in weights:
                raise ConversionError(f"{file}: {name}: found it a second time, expected it once")
            weights[name] = tensor
    return weights


def write_safetensors(
    weights: Dict[str, Tensor], directory: Union[str, Path], shard_bytes: int = 4 << 30
) -> List[Path]:
    from safetensors.torch import save_file

    def save(part, path):
        save_file({name: x.contiguous().cpu() for name, x in part.items()}, path, {"format": "pt"})

    return _write_shards(weights, Path(directory), "model", ".safetensors", save, shard_bytes)


def write_bin(
    weights: Dict[str, Tensor], directory: Union[str, Path], shard_bytes: int = 4 << 30
) -> List[Path]:
    def save(part, path):  # a copy: a slice would take its whole storage along
        torch.save({name: x.detach().cpu().clone() for name, x in part.items()}, path)

    return _write_shards(weights, Path(directory), "pytorch_model", ".bin", save, shard_bytes)


def convert(
    source: Union[str, Path],
    target: Union[str, Path],
    *,
    to: str = "safetensors",
    dtype: Union[torch.dtype, None] = None,
    say=lambda line: None,
) -> None:
    """Copies the model directory `source` to `target` with its weights as `to` ("safetensors" or
    "bin"). Names, shapes and tied weights are checked against config.json first; `target` must be
    new or empty, and is complete or absent afterwards."""
    from tnl.nn import TransNormerConfig

    source, target = Path(source), Path(target)
    if to not in ("safetensors", "bin"):
        raise ConversionError(f"to: found {to!r}, expected 'safetensors' or 'bin'")
    if not source.is_dir():
        raise ConversionError(f"{source}: found no directory, expected a model directory")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConversionError(f"{target}: found something there, expected a new or empty directory")
    try:
        config = TransNormerConfig.read(source)
    except FileNotFoundError:
        raise ConversionError(f"{source / 'config.json'}: found no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConversionError(f"{source / 'config.json'}: found no JSON: {error}") from None
    generation = "tnl (385M, 1B, 7B)" if config.gate_dim is None else "tnl3 (15B)"
    say(f"{source}: {generation}, {config.decoder_layers} layers, width {config.decoder_embed_dim}")

    weights = check_weights(read_weights(source), config, source, say)
    if dtype is not None:
        weights = {
            name: x if name.endswith("lrpe.theta") else x.to(dtype) for name, x in weights.items()
        }
    partial = target.with_name(target.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        files = (write_safetensors if to == "safetensors" else write_bin)(weights, partial)
        fields = json.loads((source / "config.json").read_text())
        fields["tie_word_embeddings"] = config.tie_word_embeddings
        (partial / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
        carried = [name for name in _CARRIED if (source / name).is_file()]
        for name in carried:
            shutil.copyfile(source / name, partial / name)
        for file in partial.iterdir():
            _sync(file)
        if target.exists():
            target.rmdir()
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    numbers = sum(x.numel() for x in weights.values())
    say(f"wrote {len(weights)} tensors, {numbers:,} parameters, to {len(files)} file(s) of {target}")
    say(f"tokenizer and other files: {', '.join(carried) if carried else 'none found'}")


def check_weights(weights: Dict[str, Tensor], config, source: Path, say=lambda line: None):
    """The weights under the released names, in the released shapes, a tied head left out."""
    from tnl.nn import TransNormerLM

    with torch.device("meta"):
        expected = {name: x.shape for name, x in TransNormerLM(config).state_dict().items()}
    known = {}
    for name, tensor in weights.items():
        if name in expected:
            known[name] = tensor
        elif name.endswith((".slopes", "slope_rate", "_dummy", "lrpe.index")):
            say(f"left out {name}: it follows from the configuration")
        else:
            raise ConversionError(f"{source}: {name}: found a tensor that the architecture lacks")
    head, table = known.get("lm_head.weight"), known.get("model.embed_tokens.weight")
    if config.tie_word_embeddings and head is not None and table is not None:
        if head.shape == table.shape and torch.equal(head, table):
            say("lm_head.weight equals model.embed_tokens.weight: tied, kept once")
            del known["lm_head.weight"]
        else:
            say("lm_head.weight differs from model.embed_tokens.weight: kept apart, untied")
            config.tie_word_embeddings = False
    if config.tie_word_embeddings:
        del expected["lm_head.weight"]
    missing = [name for name in expected if name not in known]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConversionError(f"{source}: {missing[0]}{more}: found nothing, expected a tensor")
    for name, shape in expected.items():
        if known[name].shape != shape:
            raise ConversionError(
                f"{source}: {name}: found shape {list(known[name].shape)}, expected {list(shape)}"
            )
    return {name: known[name] for name in expected}


def _weight_files(directory: Path) -> Tuple[str, List[Path]]:
    for kind, stem in ((".safetensors", "model"), (".bin", "pytorch_model")):
        whole, index = directory / (stem + kind), directory / f"{stem}{kind}.index.json"
        if index.is_file():
            try:
                names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
                raise ConversionError(f"{index}: found no weight_map, expected one") from None
            for name in names:
                if not isinstance(name, str) or Path(name).name != name:
                    raise ConversionError(f"{index}: found {name!r}, expected a file's plain name")
                if not (directory / name).is_file():
                    raise ConversionError(f"{directory / name}: found no such file, named by {index}")
            return kind, [directory / name for name in names]
        if whole.is_file():
            return kind, [whole]
    raise ConversionError(
        f"{directory}: found no model.safetensors or pytorch_model.bin, whole or with an index"
    )


def _read_file(file: Path, kind: str) -> Dict[str, Tensor]:
    try:
        if kind == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(file)
        else:
            # weights_only: a .bin file is a pickle, which could otherwise run anything.
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader makes of broken files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConversionError(f"{file}: found no readable weights: {reason}") from None
    if not isinstance(content, dict) or not all(isinstance(x, Tensor) for x in content.values()):
        raise ConversionError(f"{file}: found something else than named tensors")
    return content


def _write_shards(weights, directory, stem, suffix, save, shard_bytes) -> List[Path]:
    shards: List[Dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        count = tensor.numel() * tensor.element_size()
        if shards[-1] and size + count > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += count
    names = [f"{stem}{suffix}"]
    if len(shards) > 1:
        names = [
            f"{stem}-{i + 1:05d}-of-{len(shards):05d}{suffix}" for i in range(len(shards))
        ]
        index = {name: file for file, shard in zip(names, shards) for name in shard}
        total = sum(x.numel() * x.element_size() for x in weights.values())
        (directory / f"{stem}{suffix}.index.json").write_text(
            json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2) + "\n"
        )
    for name, shard in zip(names, shards):
        part = directory / (name + ".partial")
        save(shard, part)
        _sync(part)
        os.replace(part, directory / name)
    return [directory / name for name in names]


def _sync(file: Path) -> None:
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())


def main(arguments: Iterable[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tnl convert",
        description="Converts a model directory between pytorch_model*.bin and safetensors, of "
        "either generation, with its tokenizer; names, shapes and tied weights are checked.",
    )
    parser.add_argument("source", help="a Hugging Face model directory")
    parser.add_argument("target", help="a new directory")
    parser.add_argument("--to", choices=("safetensors", "bin"), default="safetensors")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"),
        help="of the weights; default: as they are (LRPE frequencies always stay so)",
    )
    options = parser.parse_args(list(arguments))
    try:
        convert(
            options.source, options.target, to=options.to,
            dtype=getattr(torch, options.dtype) if options.dtype else None, say=print,
        )
    except (ConversionError, ValueError, OSError) as error:
        print(f"tnl convert: {error}", file=sys.stderr)
        return 2
    return 0
