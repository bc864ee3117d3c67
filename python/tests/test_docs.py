"""The Python of README.md and docs/python.md runs as it stands there."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples_run(page, tmp_path, monkeypatch):
    if not (ROOT / page).exists():
        pytest.skip(f"{page} is not here: the tests were taken out of the repository")
    from tnl.nn import TransNormerConfig, TransNormerLM

    # What the page takes for granted: a model trained before, and a batch.
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "demo" / "run" / "model"
    TransNormerLM(TransNormerConfig(
        vocab_size=258, decoder_embed_dim=32, decoder_layers=2, decoder_attention_heads=2, glu_dim=48
    )).save_pretrained(place)
    (place / "tnl_tokenizer.json").write_text('{"kind": "bytes"}')
    tokens = torch.arange(20).view(2, 10)
    names = {"tokens": tokens, "targets": tokens + 1}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert names["o"].isfinite().all()
