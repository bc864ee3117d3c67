import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import DEVICES
from reference import LIMITS, recurrent, relative_error

import tnl

DECAY = [-0.5, 0.0, -0.01]


def tensors(device, dtype, batch=2, tokens=37, heads=3, key_dim=8, value_dim=12, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)

    q, k = (random(batch, tokens, heads, key_dim) for _ in range(2))
    return q, k, random(batch, tokens, heads, value_dim)


def state_like(q, v, sequences=None, seed=7):
    generator = torch.Generator().manual_seed(seed)
    shape = (sequences or q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(q.device, dtype)


def dtypes(device):
    return [torch.float32, torch.bfloat16, torch.float16] + (
        [torch.float64] if device == "cpu" else []
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_values_and_gradients(device, dtype, reverse):
    if dtype not in dtypes(device):
        pytest.skip("float64 is for the CPU")
    q, k, v = (x.requires_grad_() for x in tensors(device, dtype))
    state = state_like(q, v).requires_grad_()
    o, final = tnl.lightning_attention(
        q, k, v, DECAY, scale=0.3, initial_state=state, output_final_state=True, reverse=reverse
    )
    leaves = [x.detach().double().requires_grad_() for x in (q, k, v, state)]
    o_ref, final_ref = recurrent(
        *leaves[:3], DECAY, scale=0.3, initial_state=leaves[3], reverse=reverse
    )
    assert o.dtype == dtype and final.dtype == state.dtype
    assert relative_error(o, o_ref) < LIMITS[dtype]
    assert relative_error(final, final_ref) < LIMITS[dtype]

    generator = torch.Generator().manual_seed(3)
    d_o = torch.randn(o.shape, generator=generator, dtype=torch.float64).to(device, dtype)
    d_final = state_like(q, v, seed=11)
    torch.autograd.backward([o, final], [d_o, d_final])
    torch.autograd.backward([o_ref, final_ref], [d_o.double(), d_final.double()])
    for x, ref in zip((q, k, v, state), leaves):
        assert x.grad.dtype == x.dtype
        assert relative_error(x.grad, ref.grad) < LIMITS[dtype]


def test_gradcheck():
    q, k, v = (x.requires_grad_() for x in tensors("cpu", torch.float64, 1, 5, 3, 3, 2))
    state = state_like(q, v).requires_grad_()

    def call(q, k, v, state):
        return tnl.lightning_attention(
            q, k, v, DECAY, scale=0.75, initial_state=state, output_final_state=True
        )

    assert torch.autograd.gradcheck(call, (q, k, v, state))


def test_opcheck(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32))
    state = state_like(q, v).requires_grad_()
    decay = torch.tensor(DECAY)
    for arguments in (
        (q, k, v, decay, 1.0, None, False, None, False),
        (q, k, v, decay, 0.5, state, True, None, True),
    ):
        torch.library.opcheck(torch.ops.tnl.lightning_attention.default, arguments)
    step = (q[:, 0].detach(), k[:, 0].detach(), v[:, 0].detach(), decay, state.detach(), 1.0, None)
    torch.library.opcheck(torch.ops.tnl.lightning_attention_step.default, step)
    accepted = torch.tensor([2, 0], dtype=torch.int32, device=device)
    draft = (k[:, :3].detach(), v[:, :3].detach(), accepted)
    step = (*(x[:, 3:7].detach() for x in (q, k, v)), *step[3:], *draft, False)
    torch.library.opcheck(torch.ops.tnl.lightning_attention_step.default, step)


def test_packed_sequences_are_separate_runs(device):
    lengths = [5, 0, 17, 1]
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32, 1, sum(lengths)))
    state = state_like(q, v, len(lengths)).requires_grad_()
    bounds = torch.tensor([0, 5, 5, 22, 23], dtype=torch.int32, device=device)
    o, final = tnl.lightning_attention(
        q, k, v, DECAY, initial_state=state, output_final_state=True, cu_seqlens=bounds
    )
    d_o = torch.ones_like(o)
    o.backward(d_o)
    for n, (begin, end) in enumerate(zip(bounds.tolist(), bounds.tolist()[1:])):
        part = [x.detach()[:, begin:end].double().requires_grad_() for x in (q, k, v)]
        start = state.detach()[n : n + 1].double()
        o_ref, final_ref = recurrent(*part, DECAY, initial_state=start)
        assert relative_error(final[n : n + 1], final_ref) < 2e-5
        if begin == end:
            continue
        assert relative_error(o[:, begin:end], o_ref) < 2e-5
        o_ref.sum().backward()
        for x, ref in zip((q, k, v), part):
            assert relative_error(x.grad[:, begin:end], ref.grad) < 2e-5


def test_continuing_from_a_state_is_one_run(device):
    q, k, v = tensors(device, torch.float32)
    whole, final = tnl.lightning_attention(q, k, v, DECAY, output_final_state=True)
    first, state = tnl.lightning_attention(
        q[:, :20], k[:, :20], v[:, :20], DECAY, output_final_state=True
    )
    second, last = tnl.lightning_attention(
        q[:, 20:], k[:, 20:], v[:, 20:], DECAY, initial_state=state, output_final_state=True
    )
    assert relative_error(torch.cat((first, second), 1), whole) < 1e-6
    assert relative_error(last, final) < 1e-6


def test_steps_are_one_run(device):
    q, k, v = tensors(device, torch.float32)
    whole, final = tnl.lightning_attention(q, k, v, DECAY, output_final_state=True)
    pool = torch.zeros(4, *final.shape[1:], device=device)
    slots = torch.tensor([3, 1])
    for t in range(q.shape[1]):
        o = tnl.lightning_attention_step(
            q[:, t], k[:, t], v[:, t], DECAY, pool, state_slots=slots
        )
        assert relative_error(o, whole[:, t]) < 2e-5
    assert relative_error(pool[slots.to(device)], final) < 2e-5
    assert pool[0].abs().sum() == 0 and pool[2].abs().sum() == 0


def test_drafts_enter_as_far_as_they_are_accepted(device):
    q, k, v = tensors(device, torch.float32)
    step = tnl.lightning_attention_step
    one = torch.zeros(2, q.shape[2], q.shape[3], v.shape[3], device=device)
    pool, read = one.clone(), torch.zeros_like(v)
    slots = torch.tensor([1, 0], dtype=torch.int32, device=device)
    tried = step(q[:, :4], k[:, :4], v[:, :4], DECAY, pool, state_slots=slots, keep_state=False)
    assert pool.abs().sum() == 0
    accepted = torch.tensor([3, 1], dtype=torch.int32, device=device)
    draft = (k[:, :4], v[:, :4], accepted)
    o = step(q[:, 4:9], k[:, 4:9], v[:, 4:9], DECAY, pool, state_slots=slots, draft=draft)
    for n, count in enumerate((3, 1)):
        tokens = [*range(count), *range(4, 9)]
        for t in tokens:
            read[:, t] = step(q[:, t], k[:, t], v[:, t], DECAY, one)
        assert torch.equal(read[n, 4:9], o[n])
        assert torch.equal(read[n, :count], tried[n, :count])
        assert torch.equal(one[n], pool[slots[n]])
        one.zero_()


def test_any_strides(device):
    q, k, v = tensors(device, torch.float32, key_dim=8, value_dim=8)
    expected, _ = tnl.lightning_attention(q, k, v, DECAY)
    fused = torch.cat((q, k, v), -1)  # slices of one projection
    o, _ = tnl.lightning_attention(*fused.split(8, -1), DECAY)
    assert torch.equal(o, expected)
    turned = [x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0) for x in (q, k, v)]
    o, _ = tnl.lightning_attention(*turned, DECAY)
    assert torch.equal(o, expected)
    x = q.clone().requires_grad_()
    o, _ = tnl.lightning_attention(x, k, v, DECAY)
    o.sum().backward()  # the gradient arrives expanded, with strides of 0
    assert x.grad.abs().sum() > 0


def test_empty(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32, tokens=0))
    state = state_like(q, v).requires_grad_()
    o, final = tnl.lightning_attention(
        q, k, v, DECAY, initial_state=state, output_final_state=True
    )
    assert o.shape == v.shape and torch.equal(final, state)
    final.sum().backward()
    assert torch.equal(state.grad, torch.ones_like(state))


def test_final_state_without_initial_state_gives_gradients(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32))
    _, final = tnl.lightning_attention(q, k, v, DECAY, output_final_state=True)
    final.square().sum().backward()
    leaves = [x.detach().double().requires_grad_() for x in (q, k, v)]
    recurrent(*leaves, DECAY)[1].square().sum().backward()
    for x, ref in zip((k, v), leaves[1:]):
        assert relative_error(x.grad, ref.grad) < 2e-5
    assert q.grad is None or q.grad.abs().sum() == 0


def test_gradients_have_no_gradients(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32))
    o, _ = tnl.lightning_attention(q, k, v, DECAY)
    (dq,) = torch.autograd.grad(o.square().sum(), [q], create_graph=True)
    with pytest.raises(RuntimeError, match="no gradients of their own"):
        dq.sum().backward()


def test_plain_calls_are_the_registered_operator(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32))
    o, _ = tnl.lightning_attention(q, k, v, DECAY)
    direct = torch.autograd.grad(o.square().sum(), [q, k, v])
    arguments = (q, k, v, torch.tensor(DECAY), 1.0, None, False, None, False)
    registered, _ = torch.ops.tnl.lightning_attention(*arguments)
    assert torch.equal(o, registered)
    for a, b in zip(direct, torch.autograd.grad(registered.square().sum(), [q, k, v])):
        assert torch.equal(a, b)


def test_compiles_in_one_graph(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32))

    def call(q, k, v):
        o, state = tnl.lightning_attention(q.sin(), k, v, DECAY, output_final_state=True)
        return o * 2, state

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    o, state = compiled(q, k, v)
    (o.sum() + state.sum()).backward()
    found, q.grad = q.grad, None
    o_ref, state_ref = call(q, k, v)
    (o_ref.sum() + state_ref.sum()).backward()
    assert torch.equal(o, o_ref) and torch.equal(found, q.grad)


def test_autocast(device):
    q, k, v = tensors(device, torch.float32)
    with torch.autocast(device, torch.bfloat16):
        o, _ = tnl.lightning_attention(q, k, v.bfloat16(), DECAY)
    assert o.dtype == torch.bfloat16
    assert relative_error(o, recurrent(q, k, v, DECAY)[0]) < 1e-2


def test_checkpointing_and_inference_mode(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32))
    expected = tnl.lightning_attention(q, k, v, DECAY)[0]
    o = torch.utils.checkpoint.checkpoint(
        lambda *x: tnl.lightning_attention(*x, DECAY)[0], q, k, v, use_reentrant=False
    )
    o.sum().backward()
    assert torch.equal(o, expected) and q.grad is not None
    with torch.inference_mode():
        decay = torch.tensor(DECAY, device=device)
        assert torch.equal(tnl.lightning_attention(q, k, v, decay)[0], expected)


def test_decay_that_changes_in_place_is_read_again(device):
    q, k, v = tensors(device, torch.float32)
    decay = torch.tensor(DECAY, device=device)
    tnl.lightning_attention(q, k, v, decay)
    decay.mul_(2)
    o, _ = tnl.lightning_attention(q, k, v, decay)
    assert relative_error(o, recurrent(q, k, v, decay.tolist())[0]) < 2e-5


def test_gradients_are_those_of_the_decay_of_the_forward_pass(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32))
    expected = torch.autograd.grad(tnl.lightning_attention(q, k, v, DECAY)[0].sum(), [q])[0]
    decay = torch.tensor(DECAY, device=device)
    o, _ = tnl.lightning_attention(q, k, v, decay)
    decay.mul_(2)
    assert torch.equal(torch.autograd.grad(o.sum(), [q])[0], expected)


def test_only_q_k_v_and_state_are_kept(device):
    q, k, v = (x.requires_grad_() for x in tensors(device, torch.float32))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        o, _ = tnl.lightning_attention(q, k, v, torch.tensor(DECAY))
    sizes = sorted(x.numel() for x in kept)
    assert sizes == sorted([q.numel(), k.numel(), v.numel()])


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(log_decay=[-0.5, 0.1, -0.01]), "log_decay"),
        (dict(log_decay=[-0.5]), "log_decay"),
        (dict(log_decay=torch.tensor(DECAY, requires_grad=True)), "gradient"),
        (dict(k=torch.zeros(2, 36, 3, 8)), "k"),
        (dict(v=torch.zeros(2, 37, 3, 12, dtype=torch.float16)), "v"),
        (dict(q=torch.zeros(2, 37, 3, 8, dtype=torch.int64)), "q"),
        (dict(q=torch.zeros(37, 3, 8)), "q"),
        (dict(initial_state=torch.zeros(1, 3, 8, 12)), "state"),
        (dict(initial_state=torch.zeros(2, 3, 8, 12, dtype=torch.bfloat16)), "state"),
        (dict(cu_seqlens=[0, 37]), "batch"),
        (dict(scale=float("nan")), "scale"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    q, k, v = tensors("cpu", torch.float32)
    arguments = dict(q=q, k=k, v=v, log_decay=DECAY) | change
    with pytest.raises((ValueError, RuntimeError, NotImplementedError), match=words):
        tnl.lightning_attention(**arguments)


def test_wrong_packing_is_named(device):
    q, k, v = tensors(device, torch.float32, batch=1)
    for bounds in ([0, 20, 10, 37], [0, 20], [1, 37]):
        with pytest.raises(ValueError, match="cu_seqlens"):
            tnl.lightning_attention(q, k, v, DECAY, cu_seqlens=bounds)


def test_releases_of_pytorch_without_the_exchange_table():
    script = """
import torch
from tnl import _core, ops
import test_operator as t
_core.connect_torch(torch, ops._HostCopies(), exchange=False)
for device in t.DEVICES:
    t.test_values_and_gradients(device, torch.float32, False)
    t.test_packed_sequences_are_separate_runs(device)
    t.test_any_strides(device)
    t.test_steps_are_one_run(device)
    t.test_empty(device)
t.test_wrong_arguments_are_named(dict(q=torch.zeros(2, 37, 3, 8, dtype=torch.int64)), "q")
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent)
