"""The recurrence itself, token by token in float64, differentiable by autograd."""

import torch


def recurrent(q, k, v, log_decay, scale=1.0, initial_state=None, reverse=False):
    """q, k [B, T, H, K], v [B, T, H, V], any device; returns o and the final state, float64."""
    q, k, v = (x.double() for x in (q, k, v))
    lam = torch.as_tensor(log_decay, dtype=torch.float32).double().exp().to(q.device)
    batch, tokens, heads, key_dim = q.shape
    state = q.new_zeros(batch, heads, key_dim, v.shape[-1])
    if initial_state is not None:
        state = initial_state.double()
    outputs = [None] * tokens
    for t in reversed(range(tokens)) if reverse else range(tokens):
        state = lam[:, None, None] * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs[t] = scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state)
    o = torch.stack(outputs, 1) if outputs else torch.zeros_like(v)
    return o, state


def relative_error(found, expected):
    expected = expected.double()
    return ((found.double() - expected).norm() / expected.norm().clamp_min(1e-30)).item()


# Where a result is rounded to the dtype, its own rounding and that of the operands inside.
LIMITS = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 6e-3, torch.float16: 2e-3}
