"""Drop-ins for other libraries' lightning attention: change the import, keep the calls.

    from lightning_attn.ops import lightning_attn_func     ->  from tnl.compat import lightning_attn_func
    from fla.ops.simple_gla import chunk_simple_gla        ->  from tnl.compat import chunk_simple_gla
    from fla.ops.simple_gla import fused_recurrent_simple_gla   ->  from tnl.compat import ...
    from fla.ops.lightning_attn import chunk_lightning_attn     ->  from tnl.compat import ...

Served is what has one constant decay for each head. Gates that depend on the data raise
NotImplementedError: this operator has none.
"""

from __future__ import annotations

import warnings
from typing import Optional, Tuple

import torch
from torch import Tensor

from tnl.ops import lightning_attention

__all__ = [
    "lightning_attn_func",
    "chunk_simple_gla",
    "fused_recurrent_simple_gla",
    "chunk_lightning_attn",
    "fused_recurrent_lightning_attn",
]


def lightning_attn_func(
    q: Tensor, k: Tensor, v: Tensor, s: Optional[Tensor] = None, variant: str = "chunk_loop"
) -> Tensor:
    """OpenNLPLab/lightning-attention: q, k [B, H, T, K], v [B, H, T, V], slopes s [H] or [H, 1, 1]
    (decay exp(-s); None: no decay), scale 1. `variant` names a kernel there and changes nothing."""
    if variant not in ("chunk_loop", "parallel"):
        raise ValueError(f"variant: found {variant!r}, expected 'chunk_loop' or 'parallel'")
    heads = q.shape[1]
    if s is None:
        decay = _zeros(heads)
    else:
        if s.numel() != heads:
            raise ValueError(f"s: found {s.numel()} slopes, expected one for each of {heads} heads")
        decay = _kept(s, "negated", lambda: -s.detach().float().reshape(heads))
    o, _ = lightning_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), decay)
    return o.transpose(1, 2)


def chunk_simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Optional[Tensor] = None,
    g_gamma: Optional[Tensor] = None,
    scale: Optional[float] = None,
    initial_state: Optional[Tensor] = None,
    output_final_state: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Optional[Tensor] = None,
    cu_seqlens_cpu: Optional[Tensor] = None,
    **kwargs,
) -> Tuple[Tensor, Optional[Tensor]]:
    """fla: q, k [B, T, H, K], v [B, T, H, V], g_gamma [H] the log decay, scale 1/sqrt(K) by
    default. `chunk_size` is accepted and changes nothing: the plan chooses."""
    chunk_size = kwargs.pop("chunk_size", None)
    if chunk_size is not None and (chunk_size < 1 or chunk_size & (chunk_size - 1)):
        raise ValueError(f"`chunk_size` must be a power of 2, got {chunk_size}.")
    return _simple_gla(
        q, k, v, g, g_gamma, scale, initial_state, output_final_state, state_v_first,
        cu_seqlens if cu_seqlens_cpu is None else cu_seqlens_cpu, False, kwargs,
    )


def fused_recurrent_simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Optional[Tensor] = None,
    g_gamma: Optional[Tensor] = None,
    scale: Optional[float] = None,
    initial_state: Optional[Tensor] = None,
    output_final_state: bool = False,
    reverse: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Optional[Tensor] = None,
    **kwargs,
) -> Tuple[Tensor, Optional[Tensor]]:
    """fla: as chunk_simple_gla, with `reverse`."""
    return _simple_gla(
        q, k, v, g, g_gamma, scale, initial_state, output_final_state, state_v_first, cu_seqlens,
        reverse, kwargs,
    )


def chunk_lightning_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layer_idx: int,
    num_layers: int,
    scale: Optional[float] = None,
    initial_state: Optional[Tensor] = None,
    output_final_state: bool = False,
    cu_seqlens: Optional[Tensor] = None,
    **kwargs,
) -> Tuple[Tensor, Optional[Tensor]]:
    """fla: the decay follows from the layer, -(8 h / H) (1 - layer_idx / num_layers), which is the
    paper's linear schedule and not that of the released TransNormerLLM weights."""
    return chunk_simple_gla(
        q, k, v, g_gamma=_paper_decay(q.shape[2], layer_idx, num_layers), scale=scale,
        initial_state=initial_state, output_final_state=output_final_state, cu_seqlens=cu_seqlens,
        **kwargs,
    )


def fused_recurrent_lightning_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layer_idx: int,
    num_layers: int,
    scale: Optional[float] = None,
    initial_state: Optional[Tensor] = None,
    output_final_state: bool = False,
    reverse: bool = False,
    cu_seqlens: Optional[Tensor] = None,
    **kwargs,
) -> Tuple[Tensor, Optional[Tensor]]:
    """fla: as chunk_lightning_attn, with `reverse`."""
    return fused_recurrent_simple_gla(
        q, k, v, g_gamma=_paper_decay(q.shape[2], layer_idx, num_layers), scale=scale,
        initial_state=initial_state, output_final_state=output_final_state, reverse=reverse,
        cu_seqlens=cu_seqlens, **kwargs,
    )


def _simple_gla(
    q, k, v, g, g_gamma, scale, initial_state, output_final_state, state_v_first, cu_seqlens,
    reverse, kwargs,
):
    if "head_first" in kwargs:
        raise DeprecationWarning(
            "head_first has been removed. Inputs must be in `[B, T, H, ...]` format."
        )
    if "transpose_state_layout" in kwargs:
        if state_v_first:
            raise ValueError(
                "Cannot pass both `state_v_first` and the deprecated `transpose_state_layout`."
            )
        warnings.warn(
            "`transpose_state_layout` is now called `state_v_first`.", DeprecationWarning,
            stacklevel=3,
        )
        state_v_first = kwargs.pop("transpose_state_layout")
    if kwargs:
        raise TypeError(f"unexpected arguments: {', '.join(sorted(kwargs))}")
    if g is not None:
        raise NotImplementedError(
            "g: found a gate for each token, expected None: tnl's operator has one constant decay "
            "for each head (g_gamma)"
        )
    if cu_seqlens is not None:
        if q.shape[0] != 1:
            raise ValueError(
                f"The batch size is expected to be 1 rather than {q.shape[0]} when using "
                "`cu_seqlens`."
            )
        if initial_state is not None and initial_state.shape[0] != len(cu_seqlens) - 1:
            raise ValueError(
                "The number of initial states is expected to be equal to the number of input "
                f"sequences, i.e., {len(cu_seqlens) - 1} rather than {initial_state.shape[0]}."
            )
    if initial_state is not None:  # theirs may be of any dtype, and the final one is float32
        wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        initial_state = initial_state.to(wide)
        if state_v_first:
            initial_state = initial_state.transpose(-1, -2)
    o, final_state = lightning_attention(
        q, k, v,
        _zeros(q.shape[2]) if g_gamma is None else g_gamma,
        scale=k.shape[-1] ** -0.5 if scale is None else scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
        reverse=reverse,
    )
    if final_state is not None and state_v_first:
        final_state = final_state.transpose(-1, -2)
    return o, final_state


def _zeros(heads: int) -> Tensor:
    return torch.zeros(heads, dtype=torch.float32)


def _paper_decay(heads: int, layer: int, layers: int) -> Tensor:
    return -(8 / heads * (1 - layer / layers)) * torch.arange(heads, dtype=torch.float32)


def _kept(owner: Tensor, name: str, make):
    """What follows from a tensor alone, remembered on it while it does not change."""
    if torch.compiler.is_compiling() or owner.is_inference():
        return make()
    kept = getattr(owner, "_tnl_kept", None)
    if kept is None or kept[0] != (name, owner._version):
        kept = ((name, owner._version), make())
        owner._tnl_kept = kept
    return kept[1]
