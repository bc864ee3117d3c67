import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tnl
from tnl import convert
from tnl.nn import TransNormerConfig, TransNormerLM

COMMAND = Path(tnl.__file__).parent / "bin" / "tnl"
MODELS = ["tnl-a", "tnl3-a"]


def largest(found, expected):
    return (found - expected).abs().max().item() / expected.abs().max().item()


@pytest.mark.parametrize("name", MODELS)
def test_is_what_the_published_code_computes(device, data, name):
    model = TransNormerLM.from_pretrained(data / name, device=device)
    oracle = {k: x.to(device) for k, x in load_file(data / name / "oracle.safetensors").items()}
    tokens = oracle["input_ids"]
    logits, states = model(tokens, output_states=True)
    assert largest(logits, oracle["logits"]) < 1e-4
    for i, state in enumerate(states):
        assert largest(state, oracle[f"state.{i}"]) < 1e-4
    loss = model(tokens[:, :-1], targets=tokens[:, 1:])
    assert abs(loss.item() - oracle["loss"].item()) < 1e-4
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert largest(parameter.grad, oracle[f"grad.{parameter_name}"]) < 1e-3

    # Onwards from the states, token by token.
    for t in range(oracle["next_ids"].shape[1]):
        at = torch.tensor([tokens.shape[1] + t], device=device)
        logits, states = model(
            oracle["next_ids"][:, t : t + 1], positions=at, states=states, output_states=True
        )
        assert largest(logits[:, 0], oracle["next_logits"][:, t]) < 1e-4


def test_packed_is_separate(device, data):
    model = TransNormerLM.from_pretrained(data / "tnl-a", device=device)
    tokens = torch.arange(40, device=device)[None]
    bounds = torch.tensor([0, 13, 40], device=device)
    packed = model(tokens, cu_seqlens=bounds)
    assert torch.allclose(packed[:, :13], model(tokens[:, :13]), atol=1e-5)
    assert torch.allclose(packed[:, 13:], model(tokens[:, 13:]), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_saved_is_loaded_by_the_engine(data, tmp_path, name):
    model = TransNormerLM.from_pretrained(data / name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    model.save_pretrained(tmp_path / "saved")
    again = TransNormerLM.from_pretrained(tmp_path / "saved")
    for a, b in zip(model.parameters(), again.parameters()):
        assert torch.equal(a, b)
    said = subprocess.run(
        [COMMAND, "info", tmp_path / "saved"], capture_output=True, text=True, check=True
    )
    assert str(model.config.vocab_size) in said.stdout.replace(",", "")


@pytest.mark.parametrize("name", MODELS)
def test_five_steps_are_those_of_the_engine(data, tmp_path, name):
    """Every document is the same and fills one sequence, so both sides see the same batches."""
    document = b"the cat sat on the mat, and now"
    text = tmp_path / "text.txt"
    text.write_bytes(b"\n<>\n".join([document] * 64))
    run, packed = tmp_path / "run", tmp_path / "packed"
    start = tmp_path / "start"
    fields = json.loads((data / name / "config.json").read_text())
    fields["vocab_size"] = 258
    torch.manual_seed(0)
    model = TransNormerLM(TransNormerConfig(**{
        k: x for k, x in fields.items() if k in TransNormerConfig.__dataclass_fields__
    }))
    with torch.no_grad():  # a larger model at the start learns faster in five steps
        for parameter_name, x in model.named_parameters():
            if "theta" not in parameter_name:
                x.mul_(3)
    model.save_pretrained(start)

    def tnl_command(*arguments):
        done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    tnl_command("data", "pack", text, "--tokenizer", "bytes", "--document-separator", "\n<>\n",
                "--held-out", "0.1", "--held-out-by", "document", "--output", packed)
    tnl_command(
        "train", "--data", packed, "--init", start, "--run", run, "--steps", 5,
        "--sequence-length", 32, "--batch-tokens", 128, "--learning-rate", 1e-2,
        "--min-learning-rate", 1e-2, "--warmup-steps", 0, "--weight-decay", 0.1, "--clip", 1.0,
        "--eval-every", 0, "--checkpoint-every", 0,
    )
    losses = [
        line["loss"] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        if "loss" in line
    ]
    assert len(losses) == 5

    table = [model.model.embed_tokens.weight]
    theta = [x for n, x in model.named_parameters() if n.endswith("theta")]
    others = [x for n, x in model.named_parameters()
              if not n.endswith("theta") and x is not table[0]]
    optimizer = torch.optim.AdamW(
        [dict(params=others, weight_decay=0.1), dict(params=table + theta, weight_decay=0)],
        lr=1e-2, betas=(0.9, 0.95), eps=1e-8,
    )
    ids = torch.tensor([[*document, 257]])
    for step in range(5):
        loss = model(ids[:, :-1], targets=ids[:, 1:])
        assert abs(loss.item() - losses[step]) < 2e-4 * losses[step]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert losses[-1] < losses[0]
    trained = TransNormerLM.from_pretrained(run / "model")
    assert largest(trained(ids), model(ids)) < 2e-3


def test_session_gives_the_logits_of_the_modules(data, tmp_path):
    place = tmp_path / "model"
    model = TransNormerLM(TransNormerConfig(
        vocab_size=258, decoder_embed_dim=32, decoder_layers=2, decoder_attention_heads=2,
        glu_dim=48, linear_use_lrpe_list=[1, 0],
    ))
    model.save_pretrained(place)
    (place / "tnl_tokenizer.json").write_text('{"kind": "bytes"}')
    session = tnl.Session.open(str(place))
    ids = session.encode("hello wörld")
    session.feed(ids)
    logits = model(torch.tensor([ids]))[0, -1]
    assert largest(torch.tensor(session.logits()), logits) < 1e-4

    branch = session.fork()
    text = session.generate(max_tokens=20, seed=3)
    pieces = []
    assert branch.generate(max_tokens=20, seed=3, emit=pieces.append) == text
    assert "".join(pieces) == text and session.position == branch.position
    with pytest.raises(ValueError, match="temperature"):
        session.generate(temperature=-1)
    with pytest.raises(FileNotFoundError):
        tnl.Session.open(str(tmp_path / "nothing"))

    def broken(part):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        branch.generate(max_tokens=50, seed=1, emit=broken)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shard_bytes", [1 << 40, 50_000])
def test_convert_there_and_back(data, tmp_path, name, shard_bytes):
    weights = convert.read_weights(data / name)
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text((data / name / "config.json").read_text())
    (old / "tokenizer.model").write_bytes(b"carried along")
    tied = dict(weights, **{"lm_head.weight": weights["model.embed_tokens.weight"].clone()})
    convert.write_bin(tied, old, shard_bytes)
    said = []
    convert.convert(old, tmp_path / "new", say=said.append)
    found = load_file(tmp_path / "new" / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[n], weights[n]) for n in weights)
    assert (tmp_path / "new" / "tokenizer.model").read_bytes() == b"carried along"
    assert any("tied" in line for line in said)
    convert.convert(tmp_path / "new", tmp_path / "back", to="bin", dtype=torch.bfloat16)
    back = convert.read_weights(tmp_path / "back")
    assert all(torch.equal(back[n], weights[n].to(back[n].dtype)) for n in weights)
    subprocess.run([COMMAND, "info", tmp_path / "new"], check=True, capture_output=True)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_convert_refuses(data, tmp_path):
    weights = convert.read_weights(data / "tnl-a")
    config = (data / "tnl-a" / "config.json").read_text()

    def directory(change, name):
        place = tmp_path / name
        place.mkdir()
        (place / "config.json").write_text(config)
        torch.save(change, place / "pytorch_model.bin")
        return place

    some = "model.layers.1.channel_mixer.l2.weight"
    for change, words in (
        ({n: x for n, x in weights.items() if n != some}, some),
        (dict(weights, extra=torch.zeros(2)), "extra"),
        (dict(weights, **{some: torch.zeros(3, 3)}), r"\[3, 3\]"),
        ([1, 2], "named tensors"),
        ({"x": Evil()}, "no readable weights"),
    ):
        place = directory(change, f"m{abs(hash(words))}")
        with pytest.raises(convert.ConversionError, match=words):
            convert.convert(place, tmp_path / "out")
        assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
        assert convert.main([str(place), str(tmp_path / "out")]) == 2
    with pytest.raises(convert.ConversionError, match="new or empty"):
        convert.convert(data / "tnl-a", tmp_path)
    with pytest.raises(convert.ConversionError, match="no directory"):
        convert.convert(tmp_path / "none", tmp_path / "out")
