"""What a newcomer may do wrong or unusually: one clear sentence, or the right result."""

import copy
import io
import pickle
import shutil
import subprocess
import sys
import threading

import pytest
import torch
from reference import recurrent, relative_error

import tnl
from tnl.nn import TransNormerConfig, TransNormerLM

DECAY = [-0.5, 0.0, -0.01]


def tensors():
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 5, 3, 8), (2, 5, 3, 8), (2, 5, 3, 4))
    return [torch.randn(*shape, generator=generator) for shape in shapes]


Q, K, V = tensors()


def complex64(x):
    return x.to(torch.complex64)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(log_decay=-0.5), "log_decay: found a float, expected a tensor"),
        (dict(log_decay=None), "log_decay: found a NoneType"),
        (dict(log_decay=torch.tensor(-0.5)), "log_decay: found a tensor of no dimensions"),
        (dict(log_decay=torch.zeros(3, 1, 1)), "log_decay: found 3 dimensions, expected 1"),
        (dict(log_decay=["a", 0, 0]), "log_decay: found an element that is no number"),
        (dict(log_decay="abc"), "log_decay: found a str"),
        (dict(log_decay=[float("nan"), 0, 0]), "log_decay: found nan for head 0"),
        (dict(log_decay=torch.zeros(3, device="meta")), "log_decay: found .* on meta"),
        (dict(q=Q.numpy()), "q: found a ndarray, expected a torch.Tensor"),
        (dict(q=None), "q: found a NoneType, expected a torch.Tensor"),
        (dict(v=[1]), "v: found a list, expected a torch.Tensor"),
        (dict(q=torch.tensor(1.0)), "q: found a tensor of no dimensions"),
        (dict(q=torch.zeros(1, 1, 1, 1, 1)), "q: found 5 dimensions"),
        (dict(q=Q.bool()), "q: found torch.bool, expected float32"),
        (dict(q=complex64(Q)), "q: found torch.complex64, expected float32"),
        (dict(q=Q.to_sparse()), "q: found a torch.sparse_coo tensor .* expected a strided one"),
        (dict(k=K.to("meta")), "k: found a tensor on meta, expected cpu"),
        (dict(k=K[:, :, :1]), "k: found f32.2, 5, 1, 8., expected f32.2, 5, 3, 8."),
        (dict(q=Q.half()), "k: found f32.*, expected f16"),
        (dict(q=Q[..., :0], k=K[..., :0]), "q: found K = 0"),
        (dict(scale=None), "scale: found a NoneType, expected a number"),
        (dict(scale=float("inf")), "scale: found inf, expected a finite number"),
        (dict(reverse="no"), "reverse: found a str, expected True or False"),
        (dict(initial_state=torch.zeros(2, 3, 4, 8)), "initial_state: found f32.2, 3, 4, 8."),
        (dict(initial_state=torch.zeros(2, 3, 8, 4).half()), "initial_state: found f16"),
        (dict(initial_state=[1]), "initial_state: found a list"),
        (dict(cu_seqlens=[]), "cu_seqlens: found no offset"),
        (dict(cu_seqlens=5), "cu_seqlens: found a int"),
        (dict(cu_seqlens=torch.tensor([0.0, 5.0])), "cu_seqlens: found torch.float32"),
        (dict(cu_seqlens=torch.tensor([[0, 5]])), "cu_seqlens: found 2 dimensions"),
    ],
)
def test_one_sentence(change, words):
    arguments = dict(q=Q, k=K, v=V, log_decay=DECAY) | change
    for needs_gradient in (False, True):
        if needs_gradient and isinstance(arguments["k"], torch.Tensor):
            arguments["k"] = arguments["k"].detach().clone().requires_grad_()
        with pytest.raises(ValueError, match=words) as raised:
            tnl.lightning_attention(**arguments)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(q=Q[0, 0]), "q: found 2 dimensions, expected 3"),
        (dict(state=None), "state: found a NoneType"),
        (dict(state=torch.zeros(2, 3, 4, 8).transpose(-1, -2)), "state: found stride 8"),
        (dict(q=Q[:, 0].clone().requires_grad_()), "q: found a tensor that requires a gradient"),
        (dict(state_slots=[0, 0]), "state_slots: found 0 twice"),
        (dict(state_slots=[0, 2]), "state_slots: found 2, expected 0 to 1"),
        (dict(state_slots=torch.tensor([0.0, 1.0])), "state_slots: found torch.float32"),
    ],
)
def test_one_sentence_of_a_step(change, words):
    arguments = dict(
        q=Q[:, 0], k=K[:, 0], v=V[:, 0], log_decay=DECAY, state=torch.zeros(2, 3, 8, 4)
    )
    with pytest.raises(ValueError, match=words):
        tnl.lightning_attention_step(**(arguments | change))


def test_a_device_this_machine_lacks():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(RuntimeError, match="no GPU"):
        tnl._core.Session.open("nowhere", device="cuda:0")


@pytest.mark.parametrize(
    "decay",
    [
        torch.tensor(DECAY, dtype=torch.float64),
        torch.tensor(DECAY).numpy(),
        (x for x in DECAY),
        [torch.tensor(x) for x in DECAY],
    ],
    ids=["float64", "numpy", "generator", "tensors"],
)
def test_decays_of_many_kinds(decay):
    o, _ = tnl.lightning_attention(Q, K, V, decay)
    assert torch.equal(o, tnl.lightning_attention(Q, K, V, DECAY)[0])


@pytest.mark.parametrize("name", ["tokens", "batch", "heads"])
def test_nothing_at_all(name):
    cut = {"tokens": (slice(None), slice(0)), "batch": (slice(0),),
           "heads": (slice(None), slice(None), slice(0))}[name]
    q, k, v = (x[cut].requires_grad_() for x in tensors())
    o, _ = tnl.lightning_attention(q, k, v, [] if name == "heads" else DECAY)
    o.sum().backward()
    assert o.shape == v.shape and q.grad.shape == q.shape


def test_views_that_torch_negates_or_expands():
    negated = torch.conj(torch.complex(K, -Q)).imag
    assert negated.is_neg()
    expected, _ = tnl.lightning_attention(Q, K, V, DECAY)
    assert torch.equal(tnl.lightning_attention(negated, K, V, DECAY)[0], expected)
    one = Q[:1].expand(2, -1, -1, -1)
    o, _ = tnl.lightning_attention(one, K, V, DECAY)
    assert torch.equal(o, tnl.lightning_attention(one.clone(), K, V, DECAY)[0])


def test_meta_tensors_give_shapes():
    q, k, v = (x.to("meta") for x in (Q, K, V))
    o, state = tnl.lightning_attention(q, k, v, DECAY, output_final_state=True)
    assert o.shape == V.shape and state.shape == (2, 3, 8, 4)


@pytest.mark.parametrize("registered", [False, True])
def test_no_gradients_of_gradients(registered):
    q = Q.clone().requires_grad_()
    if registered:
        arguments = (q, K, V, torch.tensor(DECAY), 1.0, None, False, None, False)
        o, _ = torch.ops.tnl.lightning_attention(*arguments)
    else:
        o, _ = tnl.lightning_attention(q, K, V, DECAY)
    (dq,) = torch.autograd.grad(o.square().sum(), [q], create_graph=True)
    expected = torch.autograd.grad(tnl.lightning_attention(q, K, V, DECAY)[0].square().sum(), [q])
    assert torch.equal(dq, expected[0])
    with pytest.raises(RuntimeError, match="no gradients of their own"):
        dq.sum().backward()


def loss(q, k, v):
    return tnl.lightning_attention(q, k, v, DECAY)[0].square().sum()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_transforms():
    q = Q.clone().requires_grad_()
    expected = torch.autograd.grad(loss(q, K, V), [q])[0]
    assert torch.allclose(torch.func.grad(loss)(Q, K, V), expected)
    batched = (Q[:, None], K[:, None], V[:, None])
    o = torch.vmap(lambda *x: tnl.lightning_attention(*x, DECAY)[0])(*batched)
    assert torch.allclose(o.squeeze(1), tnl.lightning_attention(Q, K, V, DECAY)[0])
    found = torch.vmap(torch.func.grad(loss))(*batched)
    assert torch.allclose(found.squeeze(1), expected)
    with pytest.raises(NotImplementedError, match="forward mode"):
        torch.func.jvp(lambda q: loss(q, K, V), (Q,), (Q,))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(Q, Q)
        with pytest.raises(NotImplementedError, match="forward mode"):
            tnl.lightning_attention(dual, K, V, DECAY)


def test_a_step_counts_as_a_change_of_the_state():
    state = torch.zeros(2, 3, 8, 4)
    before = state._version
    tnl.lightning_attention_step(Q[:, 0], K[:, 0], V[:, 0], DECAY, state)
    assert state._version == before + 1
    with torch.inference_mode():
        state = torch.zeros(2, 3, 8, 4)
        tnl.lightning_attention_step(Q[:, 0], K[:, 0], V[:, 0], DECAY, state)


def test_many_threads():
    expected, _ = tnl.lightning_attention(Q, K, V, DECAY)
    long = [x.repeat(1, 200, 1, 1) for x in (Q, K, V)]
    expected_long, _ = tnl.lightning_attention(*long, DECAY)
    wrong = []

    def work(seed):
        for _ in range(50):
            q = Q.clone().requires_grad_()
            o, _ = tnl.lightning_attention(q, K, V, DECAY)
            o.sum().backward()
            o_long, _ = tnl.lightning_attention(*long, DECAY)
            if not torch.equal(o, expected) or not torch.equal(o_long, expected_long):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_sessions_in_many_threads(data, tmp_path):
    def text(session):
        session.feed([1, 2, 3, 4])
        return session.logits()

    place = tmp_path / "model"
    shutil.copytree(data / "tnl-a", place)
    (place / "tnl_tokenizer.json").write_text('{"kind": "bytes"}')
    directory = str(place)
    sessions = [tnl.Session.open(directory) for _ in range(4)]
    expected, found = text(tnl.Session.open(directory)), {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: text(sessions[i])})) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[i] == expected for i in range(4))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TransNormerLM(TransNormerConfig(
        vocab_size=50, decoder_embed_dim=32, decoder_layers=2, decoder_attention_heads=2, glu_dim=48
    ))


def test_modules_are_copied_and_saved(model):
    tokens = torch.arange(14).view(2, 7)
    expected = model(tokens)
    assert torch.equal(copy.deepcopy(model)(tokens), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(tokens), expected)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(tokens), expected)


def test_export(model):
    tokens = torch.arange(14).view(2, 7)
    exported = torch.export.export(model, (tokens,))
    assert torch.allclose(exported.module()(tokens), model(tokens), atol=1e-6)


def test_a_graph_alive_at_the_end_says_nothing():
    script = (
        "import torch, tnl; q = torch.randn(1, 3, 2, 8, requires_grad=True);"
        "o, _ = tnl.lightning_attention(q, q, q, [-0.1, -0.2]); o.sum().backward()"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert ended.stderr == b""


def test_half_precision_on_the_cpu():
    for dtype in (torch.float16, torch.bfloat16):
        q, k, v = (x.to(dtype).requires_grad_() for x in tensors())
        o, _ = tnl.lightning_attention(q, k, v, DECAY)
        o.float().sum().backward()
        assert o.dtype == dtype and q.grad.dtype == dtype
        assert relative_error(o, recurrent(q, k, v, DECAY)[0]) < 1e-2
