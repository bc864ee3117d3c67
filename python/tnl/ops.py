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

_DTYPES = {
    torch.float64: _core.dtypes["f64"],
    torch.float32: _core.dtypes["f32"],
    torch.bfloat16: _core.dtypes["bf16"],
    torch.float16: _core.dtypes["f16"],
    torch.int64: _core.dtypes["i64"],
}
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
    " float scale, Tensor? state_slots) -> Tensor"
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
    q, k, v = _autocast(q, k, v)
    log_decay = _log_decay_tensor(log_decay)
    if cu_seqlens is not None and not isinstance(cu_seqlens, Tensor):
        cu_seqlens = torch.tensor(list(cu_seqlens), dtype=torch.int64)
    call = _Direct.apply if _is_plain(q, k, v, initial_state) else _OPERATOR
    o, final_state = call(
        q, k, v, log_decay, float(scale), initial_state, output_final_state, cu_seqlens, reverse
    )
    return o, (final_state if output_final_state else None)


def lightning_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Union[Tensor, Sequence[float]],
    state: Tensor,
    *,
    scale: float = 1.0,
    state_slots: Optional[Tensor] = None,
) -> Tensor:
    """One token for each of N sequences, for decoding; `state` is updated in place.

    Args:
        q, k: [N, H, K]; v: [N, H, V].
        state: [slots, H, K, V], contiguous, float32 (float64 beside float64).
        state_slots: [N], distinct: which state each sequence owns; None: state n is sequence n's.

    Returns:
        o [N, H, V].
    """
    return torch.ops.tnl.lightning_attention_step(
        q, k, v, _log_decay_tensor(log_decay), state, float(scale), state_slots
    )


def _is_plain(*tensors: Optional[Tensor]) -> bool:
    """Whether nothing but autograd looks on: no compiler, no transform, no mode, no subclass. The
    registered operator serves them all, at some 50 us of the host a call."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and all(x is None or type(x) in (Tensor, torch.nn.Parameter) for x in tensors)
    )


def _autocast(q: Tensor, k: Tensor, v: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    kind = q.device.type
    if torch.is_autocast_enabled(kind) and q.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
        return q.to(dtype), k.to(dtype), v.to(dtype)
    return q, k, v


def _log_decay_tensor(log_decay: Union[Tensor, Sequence[float]]) -> Tensor:
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

    def __init__(self, dtype: torch.dtype):
        self._dtype = dtype
        self._copies = {}

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype == self._dtype and x.is_contiguous():
            return x
        # Inference tensors count no versions; they are read anew.
        if x.is_inference():
            return x.to("cpu", self._dtype).contiguous()
        key = id(x)
        found = self._copies.get(key)
        if found is not None and found[0]() is x and found[1] == x._version:
            return found[2]
        copy = x.detach().to("cpu", self._dtype).contiguous()
        self._copies[key] = (weakref.ref(x, lambda _: self._copies.pop(key, None)), x._version, copy)
        return copy


_host_decay = _HostCopies(torch.float32)
_host_lengths = _HostCopies(torch.int64)


def _describe(x: Optional[Tensor]):
    if x is None:
        return None
    dtype = _DTYPES.get(x.dtype)
    if dtype is None:
        raise ValueError(f"found {x.dtype}, expected float32, bfloat16, float16 or float64")
    return x.data_ptr(), dtype, tuple(x.shape), x.stride()


def _rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def _device(x: Tensor) -> Tuple[str, int, int]:
    """Name, number of threads and stream."""
    if x.device.type == "cpu":
        return "cpu", torch.get_num_threads(), 0
    if x.device.type == "cuda":
        index = x.device.index
        return f"cuda:{index}", 0, torch._C._cuda_getCurrentRawStream(index)
    raise ValueError(f"q: found a tensor on {x.device}, expected cpu or cuda")


def _check(q: Tensor, k: Tensor, v: Tensor, others: dict, cu_seqlens: Optional[Tensor]) -> None:
    for name, x in {"k": k, "v": v, **others}.items():
        if x is not None and x.device != q.device:
            raise ValueError(f"{name}: found a tensor on {x.device}, expected {q.device} as q is")
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"{name}: found {x.dim()} dimensions, expected 4: [B, T, H, D]")
    if cu_seqlens is not None and q.shape[0] != 1:
        raise ValueError(
            f"q: found a batch of {q.shape[0]}, expected 1 with cu_seqlens: packed sequences lie "
            "one behind the other"
        )


def _packed(x: Tensor, cu_seqlens: Optional[Tensor]) -> Tensor:
    return x if cu_seqlens is None else x[0]


def _state_shape(q: Tensor, v: Tensor, cu_seqlens: Optional[Tensor]) -> Tuple[int, ...]:
    sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return sequences, q.shape[2], q.shape[3], v.shape[3]


def _state_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


class _Workspace:
    def __init__(self, device: torch.device):
        self._device = device

    def __call__(self, size: int):
        memory = torch.empty(size + 256, dtype=torch.uint8, device=self._device)
        return memory, (memory.data_ptr() + 255) // 256 * 256


def _forward(q, k, v, log_decay, scale, initial_state, output_final_state, cu_seqlens, reverse):
    _check(q, k, v, {"initial_state": initial_state}, cu_seqlens)
    q, k, v = _rows(q), _rows(k), _rows(v)
    state_in = None if initial_state is None else initial_state.contiguous()
    o = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    final_state = torch.empty(
        _state_shape(q, v, cu_seqlens) if output_final_state else (0,),
        dtype=_state_dtype(q),
        device=q.device,
    )
    decay = _host_decay(log_decay)
    lengths = None if cu_seqlens is None else _host_lengths(cu_seqlens)
    _core.attention_forward(
        *_device(q),
        *(_describe(_packed(x, cu_seqlens)) for x in (q, k, v, o)),
        _describe(decay),
        scale,
        reverse,
        _describe(lengths),
        _describe(state_in),
        _describe(final_state) if output_final_state else None,
        _Workspace(q.device),
    )
    return o, final_state


def _backward(d_o, d_final_state, q, k, v, log_decay, scale, initial_state, cu_seqlens, reverse):
    _check(
        q, k, v,
        {"d_o": d_o, "initial_state": initial_state, "d_final_state": d_final_state},
        cu_seqlens,
    )
    q, k, v, d_o = _rows(q), _rows(k), _rows(v), _rows(d_o)
    state_in = None if initial_state is None else initial_state.contiguous()
    d_state_out = None if d_final_state is None else d_final_state.contiguous()
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    d_state_in = torch.empty(
        (0,) if state_in is None else state_in.shape, dtype=_state_dtype(q), device=q.device
    )
    decay = _host_decay(log_decay)
    lengths = None if cu_seqlens is None else _host_lengths(cu_seqlens)
    _core.attention_backward(
        *_device(q),
        *(_describe(_packed(x, cu_seqlens)) for x in (q, k, v, d_o)),
        _describe(decay),
        scale,
        reverse,
        _describe(lengths),
        _describe(state_in),
        _describe(d_state_out),
        *(_describe(_packed(x, cu_seqlens)) for x in (dq, dk, dv)),
        None if state_in is None else _describe(d_state_in),
        _Workspace(q.device),
    )
    return dq, dk, dv, d_state_in


def _step(q, k, v, log_decay, state, scale, state_slots):
    if q.dim() != 3 or k.dim() != 3 or v.dim() != 3:
        raise ValueError("q, k, v: expected 3 dimensions: [N, H, D]")
    if not state.is_contiguous():
        raise ValueError("state: expected a contiguous tensor: it is updated in place")
    q, k, v = _rows(q), _rows(k), _rows(v)
    o = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    slots = None if state_slots is None else _host_lengths(state_slots)
    _core.attention_step(
        *_device(q),
        *(_describe(x) for x in (q, k, v, o)),
        _describe(_host_decay(log_decay)),
        scale,
        _describe(state),
        _describe(slots),
    )
    return o


for _key in ("CPU", "CUDA"):
    _LIBRARY.impl("lightning_attention", _forward, _key)
    _LIBRARY.impl("lightning_attention_backward", _backward, _key)
    _LIBRARY.impl("lightning_attention_step", _step, _key)


@torch.library.register_fake("tnl::lightning_attention", lib=_LIBRARY)
def _forward_fake(
    q, k, v, log_decay, scale, initial_state, output_final_state, cu_seqlens, reverse
):
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
def _step_fake(q, k, v, log_decay, state, scale, state_slots):
    return torch.empty_like(v, memory_format=torch.contiguous_format)


def _save(ctx, inputs, output):
    q, k, v, log_decay, scale, initial_state, output_final_state, cu_seqlens, reverse = inputs
    ctx.save_for_backward(q, k, v, log_decay, initial_state, cu_seqlens)
    ctx.scale, ctx.reverse, ctx.output_final_state = scale, reverse, output_final_state


def _gradients(ctx, d_o, d_final_state):
    q, k, v, log_decay, initial_state, cu_seqlens = ctx.saved_tensors
    dq, dk, dv, d_state = torch.ops.tnl.lightning_attention_backward(
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


_OPERATOR = torch.ops.tnl.lightning_attention.default


class _Direct(torch.autograd.Function):
    """The operator without the dispatcher in between."""

    @staticmethod
    def forward(ctx, *inputs):
        output = _forward(*inputs)
        _save(ctx, inputs, output)
        ctx.set_materialize_grads(False)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_o, d_final_state):
        q, k, v, log_decay, initial_state, cu_seqlens = ctx.saved_tensors
        if d_o is None:
            d_o = torch.zeros_like(v, memory_format=torch.contiguous_format)
        dq, dk, dv, d_state = _backward(
            d_o,
            d_final_state if ctx.output_final_state else None,
            q, k, v,
            log_decay, ctx.scale, initial_state, cu_seqlens, ctx.reverse,
        )
        return dq, dk, dv, None, None, None if initial_state is None else d_state, None, None, None


torch.library.register_autograd(
    "tnl::lightning_attention", _gradients, setup_context=_save, lib=_LIBRARY
)
