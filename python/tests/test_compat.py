import pytest
import torch
from reference import recurrent, relative_error

from tnl import compat


def tensors(device, heads=4, dim=16, tokens=70, dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randn(2, tokens, heads, dim, generator=generator).to(device, dtype).requires_grad_()
        for _ in range(3)
    ]


def test_lightning_attn_func(device):
    q, k, v = tensors(device)
    slopes = torch.tensor([0.84, 0.5, 0.1, 0.01], device=device).view(4, 1, 1)
    by_head = [x.detach().transpose(1, 2).contiguous().requires_grad_() for x in (q, k, v)]
    o = compat.lightning_attn_func(*by_head, slopes)
    expected, _ = recurrent(q, k, v, -slopes.flatten().cpu())
    assert relative_error(o.transpose(1, 2), expected) < 2e-5
    o.sum().backward()
    expected.sum().backward()
    assert relative_error(by_head[0].grad.transpose(1, 2), q.grad) < 2e-5
    o = compat.lightning_attn_func(*by_head, variant="parallel")
    assert relative_error(o.transpose(1, 2), recurrent(q, k, v, torch.zeros(4))[0]) < 2e-5
    with pytest.raises(ValueError, match="slopes"):
        compat.lightning_attn_func(*by_head, slopes[:3])


@pytest.mark.parametrize("call", [compat.chunk_simple_gla, compat.fused_recurrent_simple_gla])
def test_simple_gla(device, call):
    q, k, v = tensors(device)
    gamma = -torch.tensor([0.84, 0.5, 0.1, 0.01], device=device)
    state = torch.randn(2, 4, 16, 16).to(device)
    o, final = call(
        q, k, v, g_gamma=gamma, initial_state=state, output_final_state=True
    )
    expected, final_expected = recurrent(q, k, v, gamma.cpu(), 16**-0.5, state)
    assert relative_error(o, expected) < 2e-5
    assert relative_error(final, final_expected) < 2e-5
    narrow = state.to(torch.bfloat16).requires_grad_()
    o_narrow, _ = call(q, k, v, g_gamma=gamma, initial_state=narrow)
    assert relative_error(o_narrow, expected) < 1e-2
    o_narrow.sum().backward()
    assert narrow.grad.dtype == torch.bfloat16
    turned = state.transpose(-1, -2).contiguous()
    o, final = call(
        q, k, v, g_gamma=gamma, initial_state=turned, output_final_state=True, state_v_first=True
    )
    assert relative_error(o, expected) < 2e-5
    assert relative_error(final.transpose(-1, -2), final_expected) < 2e-5
    o, final = call(q, k, v, g_gamma=gamma)
    assert final is None
    with pytest.raises(NotImplementedError, match="gate"):
        call(q, k, v, g=torch.zeros(2, 70, 4))
    with pytest.raises(DeprecationWarning):
        call(q, k, v, g_gamma=gamma, head_first=True)


def test_fused_recurrent_reverse(device):
    q, k, v = tensors(device)
    gamma = torch.tensor([-0.84, -0.5, -0.1, -0.01])
    o, _ = compat.fused_recurrent_simple_gla(q, k, v, g_gamma=gamma, scale=1.0, reverse=True)
    assert relative_error(o, recurrent(q, k, v, gamma, reverse=True)[0]) < 2e-5


def test_chunk_lightning_attn(device):
    q, k, v = tensors(device)
    decay = [-(8 * h / 4) * (1 - 3 / 12) for h in range(4)]
    expected = recurrent(q, k, v, decay, 16**-0.5)[0]
    for call in (compat.chunk_lightning_attn, compat.fused_recurrent_lightning_attn):
        o, final = call(q, k, v, layer_idx=3, num_layers=12)
        assert final is None and relative_error(o, expected) < 2e-5


def test_packed(device):
    q, k, v = (x[:1] for x in tensors(device))
    gamma = torch.tensor([-0.84, -0.5, -0.1, -0.01], device=device)
    bounds = torch.tensor([0, 30, 70], device=device)
    o, final = compat.chunk_simple_gla(
        q, k, v, g_gamma=gamma, cu_seqlens=bounds, output_final_state=True
    )
    expected, state = recurrent(q[:, 30:], k[:, 30:], v[:, 30:], gamma.cpu(), 16**-0.5)
    assert relative_error(o[:, 30:], expected) < 2e-5
    assert relative_error(final[1:], state) < 2e-5
    with pytest.raises(ValueError, match="batch size"):
        compat.chunk_simple_gla(*tensors(device), g_gamma=gamma, cu_seqlens=bounds)
