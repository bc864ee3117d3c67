"""The operator: for every head, with lam = exp(log_decay[h]),

    S_t = lam S_{t-1} + k_t v_t^T,   o_t = scale S_t^T q_t,

registered with torch.library as tnl::lightning_attention, its backward and its one-token step.
"""

from __future__ import annotations

import weakref
from typing import Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from tnl import _core

__all__ = ["lightning_attention", "lightning_attention_step"]

_LIBRARY = torch.library.Library("tnl", "DEF")
_LIBRARY.define(
    "lightning_attention(Tensor q, Tensor k, Tensor v, Tensor log_decay, float scale,"
    " Tensor? initial_state, bool output_final_state, Tensor? cu_seqlens, bool reverse)"
    " -> (Tensor, Tensor)"
)
_LIBRARY.define(
    "lightning_attention_backward(Tensor d_o, Tensor? d_final_state, Tensor q, Tensor k, Tensor v,"
    " Tensor log_decay, float scale, Tensor? initial_state, Tensor? cu_seqlens, bool reverse)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    "lightning_attention_step(Tensor q, Tensor k, Tensor v, Tensor log_decay, Tensor(a!) state,"
    " float scale, Tensor? state_slots, Tensor? draft_k=None, Tensor? draft_v=None,"
    " Tensor? accepted=None, bool keep_state=True) -> Tensor"
)


def lightning_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Union[Tensor, Sequence[float]],
    *,
    scale: float = 1.0,
    initial_state: Optional[Tensor] = None,
    output_final_state: bool = False,
    cu_seqlens: Union[Tensor, Sequence[int], None] = None,
    reverse: bool = False,
) -> Tuple[Tensor, Optional[Tensor]]:
    """Lightning attention in time linear in the length, with gradients for q, k, v and the states.

    Args:
        q, k: [B, T, H, K]; v: [B, T, H, V], on the CPU (float32, bfloat16, float16; float64 as the
            reference) or on a GPU (bfloat16, float16, float32). Any strides.
        log_decay: [H], the natural logarithm of each head's decay, at most 0. Not differentiable:
            one that requires a gradient raises.
        scale: multiplies the output.
        initial_state: [N, H, K, V], float32 (float64 beside float64): the memory of what came
            before. N is B, or the number of packed sequences.
        output_final_state: also return the state behind the last token.
        cu_seqlens: [N + 1], from 0 to T, rising: B is 1 and the sequences lie one behind the other.
        reverse: the exact mirror in time, S_t = lam S_{t+1} + k_t v_t^T.

    Returns:
        o [B, T, H, V] in the dtype of v, and the final state or None.
    """
    settings = None
    if not torch.compiler.is_compiling():
        settings = _core.plain_settings(
            q, k, v, log_decay, scale, initial_state, cu_seqlens, reverse
        )
    if settings is None:
        return _registered(
            q, k, v, log_decay, scale, initial_state, output_final_state, cu_seqlens, reverse
        )
    if settings.autocast:
        q, k, v = _autocast(q, k, v)
    if settings.differentiate:
        return _apply(settings, output_final_state, q, k, v, initial_state)
    return _core.attention_forward(settings, q, k, v, initial_state, output_final_state)


def lightning_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Union[Tensor, Sequence[float]],
    state: Tensor,
    *,
    scale: float = 1.0,
    state_slots: Optional[Tensor] = None,
    draft: Optional[Tuple[Tensor, Tensor, Tensor]] = None,
    keep_state: bool = True,
) -> Tensor:
    """Decoding: a token, or up to eight, for each of N sequences; `state` is updated in place.

    Args:
        q, k: [N, H, K] or [N, T, H, K]; v: [N, H, V] or [N, T, H, V].
        state: [slots, H, K, V], contiguous, float32 (float64 beside float64).
        state_slots: [N], distinct: which state each sequence owns; None: state n is sequence n's.
            An int32 tensor beside q on a GPU is read there when the step runs, so that a captured
            CUDA graph serves other sequences after a write to it; a negative slot skips its
            sequence, whose o is undefined then.
        draft: (k, v, accepted) of an earlier step with keep_state=False: k and v as they were,
            [N, R, H, ...], and how many of its tokens stand, int32 [N] beside q. These enter the
            state before q, k and v are read.
        keep_state: False leaves the state as it is before these tokens: a draft is tried.

    Returns:
        o, as v.
    """
    draft_k, draft_v, accepted = draft if draft is not None else (None, None, None)
    tensors = [("q", q), ("k", k), ("v", v), ("state", state)]
    if draft is not None:
        tensors += [("draft k", draft_k), ("draft v", draft_v), ("draft accepted", accepted)]
    for name, x in tensors:
        _check_tensor(name, x)
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name}: found a tensor that requires a gradient, expected one that does not: a "
                "step has no backward pass (call it under torch.no_grad())"
            )
    if torch.compiler.is_compiling() or not _core.is_plain(q, k, v, state):
        if state_slots is not None and not isinstance(state_slots, Tensor):
            state_slots = torch.tensor(list(state_slots), dtype=torch.int64)
        return torch.ops.tnl.lightning_attention_step(
            q, k, v, _decay_tensor(log_decay), state, float(scale), state_slots,
            draft_k, draft_v, accepted, keep_state,
        )
    if not state.is_inference():
        _written(state)
    return _core.attention_step(
        q, k, v, log_decay, state, scale, state_slots, draft_k, draft_v, accepted, keep_state
    )


def _check_tensor(name: str, x) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"{name}: found a {type(x).__name__}, expected a torch.Tensor")


# Autograd counts what is written in place.
_written = getattr(torch.autograd.graph, "increment_version", lambda x: None)


def _no_gradients(ctx, *_):
    raise RuntimeError(
        "lightning_attention: its gradients have no gradients of their own (found a backward pass "
        "through a backward pass, as create_graph=True prepares it)"
    )


def _no_forward_mode(ctx, *_):
    raise NotImplementedError(
        "lightning_attention: found a derivative in forward mode (jvp), expected reverse mode"
    )


class LightningAttention(torch.autograd.Function):
    """The operator and its gradient without the dispatcher in between."""

    # (ctx, settings, output_final_state, q, k, v, initial_state) -> o, final_state
    forward = staticmethod(_core.function_forward)

    @staticmethod
    def backward(ctx, d_o, d_final_state):
        call = _Once.apply if torch.is_grad_enabled() else _run_backward  # create_graph or not
        return (None, None) + call(ctx.settings, d_o, d_final_state, *ctx.saved_tensors)

    jvp = staticmethod(_no_forward_mode)


# What Function.apply and the nodes' apply come down to where no transform is active.
_apply = super(torch.autograd.Function, LightningAttention).apply
LightningAttention._backward_cls.apply = _core.function_backward


def _run_backward(settings, d_o, d_final_state, q, k, v, initial_state):
    if d_o is None:
        d_o = torch.zeros_like(v, memory_format=torch.contiguous_format)
    return _core.attention_backward(settings, d_o, d_final_state, q, k, v, initial_state)


class _Once(torch.autograd.Function):
    """The gradients where somebody may want theirs: they raise when they are derived."""

    @staticmethod
    def forward(ctx, *inputs):
        return _run_backward(*inputs)

    backward = staticmethod(_no_gradients)


def _registered(
    q, k, v, log_decay, scale, initial_state, output_final_state, cu_seqlens, reverse
):
    """The same through the dispatcher, for whatever looks on: a compiler, a transform, a mode, a
    subclass of Tensor. It costs the host some 50 us more a call."""
    for name, x in (("q", q), ("k", k), ("v", v), ("initial_state", initial_state)):
        if not (x is None and name == "initial_state"):
            _check_tensor(name, x)
    q, k, v = _autocast(q, k, v)
    if cu_seqlens is not None and not isinstance(cu_seqlens, Tensor):
        cu_seqlens = torch.tensor(list(cu_seqlens), dtype=torch.int64)
    arguments = (
        q, k, v, _decay_tensor(log_decay), float(scale), initial_state, output_final_state,
        cu_seqlens, reverse,
    )
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        o, final_state = torch.ops.tnl.lightning_attention(*arguments)
    else:
        o, final_state = _Transformed.apply(*arguments)
    return o, (final_state if output_final_state else None)


def _autocast(q: Tensor, k: Tensor, v: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    kind = q.device.type
    if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind) and q.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
        return q.to(dtype), k.to(dtype), v.to(dtype)
    return q, k, v


def _decay_tensor(log_decay: Union[Tensor, Sequence[float]]) -> Tensor:
    if not isinstance(log_decay, Tensor):
        return torch.tensor([float(x) for x in log_decay], dtype=torch.float32)
    if log_decay.requires_grad:
        raise ValueError(
            "log_decay: found a tensor that requires a gradient, expected one that does not: the "
            "decay is not differentiable here (detach it)"
        )
    return log_decay


class _HostCopies:
    """Small tensors the host must read, kept per tensor and version: reading one from a GPU waits
    for it, and a training loop passes the same ones over and over."""

    def __init__(self):
        self._copies = {}

    def __call__(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        # Inference tensors count no versions; they are read anew.
        if x.device.type == "cpu" or x.is_inference():
            return x.detach().to("cpu", dtype).contiguous()
        key = id(x)
        found = self._copies.get(key)
        if found is not None and found[0]() is x and found[1] == (x._version, dtype):
            return found[2]
        copy = x.detach().to("cpu", dtype).contiguous()
        self._copies[key] = (
            weakref.ref(x, lambda _: self._copies.pop(key, None)), (x._version, dtype), copy
        )
        return copy


_core.connect_torch(torch, _HostCopies())


def _forward(q, k, v, log_decay, scale, initial_state, output_final_state, cu_seqlens, reverse):
    settings = _core.AttentionSettings(log_decay, scale, cu_seqlens, reverse)
    o, final_state = _core.attention_forward(
        settings, q, k, v, initial_state, output_final_state
    )
    return o, q.new_empty((0,), dtype=_state_dtype(q)) if final_state is None else final_state


def _backward(d_o, d_final_state, q, k, v, log_decay, scale, initial_state, cu_seqlens, reverse):
    settings = _core.AttentionSettings(log_decay, scale, cu_seqlens, reverse)
    dq, dk, dv, d_state = _core.attention_backward(
        settings, d_o, d_final_state, q, k, v, initial_state
    )
    return dq, dk, dv, q.new_empty((0,), dtype=_state_dtype(q)) if d_state is None else d_state


def _step(
    q, k, v, log_decay, state, scale, state_slots,
    draft_k=None, draft_v=None, accepted=None, keep_state=True,
):
    return _core.attention_step(
        q, k, v, log_decay, state, scale, state_slots, draft_k, draft_v, accepted, keep_state
    )


for _key in ("CPU", "CUDA"):
    _LIBRARY.impl("lightning_attention", _forward, _key)
    _LIBRARY.impl("lightning_attention_backward", _backward, _key)
    _LIBRARY.impl("lightning_attention_step", _step, _key)


def _state_shape(q: Tensor, v: Tensor, cu_seqlens: Optional[Tensor]) -> Tuple[int, ...]:
    sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return sequences, q.shape[2], q.shape[3], v.shape[3]


def _state_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


@torch.library.register_fake("tnl::lightning_attention", lib=_LIBRARY)
def _forward_fake(
    q, k, v, log_decay, scale, initial_state, output_final_state, cu_seqlens, reverse
):
    for name, x in (("k", k), ("v", v), ("initial_state", initial_state)):
        if x is not None and x.device != q.device:
            raise ValueError(f"{name}: found a tensor on {x.device}, expected {q.device} as q is")
    shape = _state_shape(q, v, cu_seqlens) if output_final_state else (0,)
    return torch.empty_like(v, memory_format=torch.contiguous_format), q.new_empty(
        shape, dtype=_state_dtype(q)
    )


@torch.library.register_fake("tnl::lightning_attention_backward", lib=_LIBRARY)
def _backward_fake(
    d_o, d_final_state, q, k, v, log_decay, scale, initial_state, cu_seqlens, reverse
):
    shape = (0,) if initial_state is None else initial_state.shape
    gradients = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    return (*gradients, q.new_empty(shape, dtype=_state_dtype(q)))


@torch.library.register_fake("tnl::lightning_attention_step", lib=_LIBRARY)
def _step_fake(
    q, k, v, log_decay, state, scale, state_slots,
    draft_k=None, draft_v=None, accepted=None, keep_state=True,
):
    return torch.empty_like(v, memory_format=torch.contiguous_format)


def _save(ctx, inputs, output):
    q, k, v, log_decay, scale, initial_state, output_final_state, cu_seqlens, reverse = inputs
    ctx.save_for_backward(q, k, v, log_decay, initial_state, cu_seqlens)
    ctx.scale, ctx.reverse, ctx.output_final_state = scale, reverse, output_final_state


def _gradients(ctx, d_o, d_final_state, call=torch.ops.tnl.lightning_attention_backward):
    q, k, v, log_decay, initial_state, cu_seqlens = ctx.saved_tensors
    dq, dk, dv, d_state = call(
        d_o,
        d_final_state if ctx.output_final_state else None,
        q, k, v,
        log_decay,
        ctx.scale,
        initial_state,
        cu_seqlens,
        ctx.reverse,
    )
    return dq, dk, dv, None, None, None if initial_state is None else d_state, None, None, None


torch.library.register_autograd(
    "tnl::lightning_attention", _gradients, setup_context=_save, lib=_LIBRARY
)


torch.library.register_autograd(
    "tnl::lightning_attention_backward", _no_gradients, lib=_LIBRARY
)


class _Transformed(torch.autograd.Function):
    """The registered operator under torch.func: grad, jacrev, and vmap, one call an element."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs):
        return torch.ops.tnl.lightning_attention(*inputs)

    setup_context = staticmethod(_save)

    @staticmethod
    def backward(ctx, d_o, d_final_state):
        return _gradients(ctx, d_o, d_final_state, _TransformedBackward.apply)

    jvp = staticmethod(_no_forward_mode)


class _TransformedBackward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs):
        return torch.ops.tnl.lightning_attention_backward(*inputs)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    backward = staticmethod(_no_gradients)
    jvp = staticmethod(_no_forward_mode)
