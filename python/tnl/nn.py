"""TransNormerLLM as plain PyTorch modules over the operator. Names and shapes of the parameters are
those of the released checkpoints, so a model trained by `tnl train` goes on in PyTorch and back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tnl.ops import lightning_attention

__all__ = ["SRMSNorm", "SGLU", "TnlTokenMixer", "TnlLayer", "TransNormerConfig", "TransNormerLM"]


@dataclass
class TransNormerConfig:
    """config.json of a model directory; docs/math.md has the equations."""

    vocab_size: int
    decoder_embed_dim: int
    decoder_layers: int
    decoder_attention_heads: int
    hidden_dim: int = 0  # 0: decoder_embed_dim
    glu_dim: int = -1  # -1: decoder_embed_dim
    gate_dim: Optional[int] = None  # given: the 15B generation
    linear_act_fun: str = "silu"
    linear_use_lrpe_list: List[int] = field(default_factory=list)
    no_scale_embedding: bool = False
    tie_word_embeddings: bool = True
    pad_token_id: Optional[int] = 0
    bos_token_id: Optional[int] = 1
    eos_token_id: Optional[int] = 2
    init_std: float = 0.02
    tnl_norm_eps: float = 1e-6
    tnl_attention_scale: float = 1.0
    tnl_slopes: str = "released"

    def __post_init__(self):
        self.hidden_dim = self.hidden_dim or self.decoder_embed_dim
        if self.glu_dim == -1:
            self.glu_dim = self.decoder_embed_dim
        if not self.linear_use_lrpe_list:
            self.linear_use_lrpe_list = [0] * self.decoder_layers
        if self.hidden_dim % self.decoder_attention_heads:
            raise ValueError(
                f"hidden_dim: found {self.hidden_dim}, expected a multiple of "
                f"decoder_attention_heads = {self.decoder_attention_heads}"
            )
        if len(self.linear_use_lrpe_list) != self.decoder_layers:
            raise ValueError(
                f"linear_use_lrpe_list: found {len(self.linear_use_lrpe_list)} entries, expected "
                f"one for each of {self.decoder_layers} layers"
            )
        if self.linear_act_fun not in ("silu", "swish", "none"):
            raise ValueError(
                f"linear_act_fun: found {self.linear_act_fun!r}, expected 'silu', 'swish' or 'none'"
            )
        if self.tnl_slopes not in ("released", "paper-linear"):
            raise ValueError(
                f"tnl_slopes: found {self.tnl_slopes!r}, expected 'released' or 'paper-linear'"
            )

    @classmethod
    def read(cls, directory: Union[str, Path]) -> "TransNormerConfig":
        path = Path(directory) / "config.json"
        fields = json.loads(path.read_text())
        for key, expected in (
            ("model_type", "transnormer"), ("norm_type", "simplermsnorm"), ("bias", False)
        ):
            if fields.get(key, expected) != expected:
                raise ValueError(f"{path}: {key}: found {fields[key]!r}, expected {expected!r}")
        fields.setdefault(
            "tie_word_embeddings", fields.get("share_decoder_input_output_embed", True)
        )
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        missing = [
            name for name in ("vocab_size", "decoder_embed_dim", "decoder_layers",
                              "decoder_attention_heads") if name not in known
        ]
        if missing:
            raise ValueError(f"{path}: {missing[0]}: found nothing, expected an integer")
        return cls(**known)

    def write(self, directory: Union[str, Path], dtype: torch.dtype) -> None:
        fields = {
            "architectures": ["TransnormerForCausalLM"], "model_type": "transnormer",
            "norm_type": "simplermsnorm", "bias": False, "add_bos_token": False,
            "torch_dtype": str(dtype).removeprefix("torch."), **self.__dict__,
        }
        if self.gate_dim is None:
            del fields["gate_dim"]
        (Path(directory) / "config.json").write_text(json.dumps(fields, indent=2) + "\n")

    def log_decay(self, layer: int) -> Tensor:
        """[heads], float32: minus the slope of each head of a layer."""
        heads, layers = self.decoder_attention_heads, self.decoder_layers
        if self.tnl_slopes == "paper-linear":
            slopes = [8 * h / heads * (1 - layer / layers) for h in range(heads)]
        else:
            factor = 1.0 if layers == 1 else 1 - layer / (layers - 1) + 1e-5
            slopes = [slope * factor for slope in _alibi_slopes(heads)]
        return -torch.tensor(slopes, dtype=torch.float64).float()


def _alibi_slopes(heads: int) -> List[float]:
    power = 2 ** int(math.floor(math.log2(heads)))
    slopes = [2.0 ** (-8 * (h + 1) / power) for h in range(power)]
    return slopes + [2.0 ** (-8 * (2 * i + 1) / (2 * power)) for i in range(heads - power)]


class SRMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) over the last axis, in float32; no weights."""

    def __init__(self, eps: float = 1e-6):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class SGLU(nn.Module):
    """l3(l1(x) * l2(x)), without an activation."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.l1 = nn.Linear(width, hidden, bias=False)
        self.l2 = nn.Linear(width, hidden, bias=False)
        self.l3 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.l3(self.l1(x) * self.l2(x))


class Lrpe(nn.Module):
    """[x cos(theta t) | x sin(theta t)] at position t, the angle in float64."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        exponent = torch.arange(heads * head_dim, dtype=torch.float64) * (-2 / (heads * head_dim))
        theta = torch.pow(torch.tensor(10000.0, dtype=torch.float64), exponent)
        self.theta = nn.Parameter(theta.float().view(heads, 1, head_dim))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        # x [B, T, H, D], positions [T] or [B, T]
        angle = positions.to(torch.float64)[..., None, None] * self.theta.double().squeeze(1)
        wide = x if x.dtype == torch.float64 else x.float()
        cos, sin = angle.cos().to(wide.dtype), angle.sin().to(wide.dtype)
        return torch.cat((wide * cos, wide * sin), -1).to(x.dtype)


class TnlTokenMixer(nn.Module):
    """Lightning attention with norm and gate; forward returns the output and the final state."""

    def __init__(self, config: TransNormerConfig, layer: int):
        super().__init__()
        width, hidden = config.decoder_embed_dim, config.hidden_dim
        self.heads, self.scale = config.decoder_attention_heads, config.tnl_attention_scale
        self.activation = config.linear_act_fun != "none"
        if config.gate_dim is None:
            self.qkvu_proj = nn.Linear(width, 4 * hidden, bias=False)
        else:
            self.qkv_proj = nn.Linear(width, 3 * hidden, bias=False)
            self.output_gate = nn.Sequential(
                nn.Linear(width, config.gate_dim, bias=False),
                nn.Linear(config.gate_dim, hidden, bias=False),
            )
        self.lrpe = (
            Lrpe(self.heads, hidden // self.heads) if config.linear_use_lrpe_list[layer] else None
        )
        self.norm = SRMSNorm(config.tnl_norm_eps)
        self.out_proj = nn.Linear(hidden, width, bias=False)
        # On the CPU whatever the module's device: the operator reads it on the host.
        self.log_decay = config.log_decay(layer)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Optional[Tensor] = None,
        positions: Optional[Tensor] = None,
        state: Optional[Tensor] = None,
        output_state: bool = False,
        cu_seqlens: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        if hasattr(self, "qkvu_proj"):
            q, k, v, u = self.qkvu_proj(x).chunk(4, -1)
            gate = u
        else:
            q, k, v = self.qkv_proj(x).chunk(3, -1)
            gate = torch.sigmoid(self.output_gate(x))
            v = F.silu(v) if self.activation else v
        if self.activation:
            q, k = F.silu(q), F.silu(k)
        q, k, v = (y.unflatten(-1, (self.heads, -1)) for y in (q, k, v))
        if self.lrpe is not None:
            if positions is None:
                positions = torch.arange(x.shape[1], device=x.device)
            q, k = self.lrpe(q, positions), self.lrpe(k, positions)
        if mask is not None:
            v = v * mask[..., None, None].to(v.dtype)
        o, state = lightning_attention(
            q, k, v, self.log_decay, scale=self.scale, initial_state=state,
            output_final_state=output_state, cu_seqlens=cu_seqlens,
        )
        return self.out_proj(gate * self.norm(o.flatten(-2))), state


class TnlLayer(nn.Module):
    def __init__(self, config: TransNormerConfig, layer: int):
        super().__init__()
        self.token_mixer = TnlTokenMixer(config, layer)
        self.channel_mixer = SGLU(config.decoder_embed_dim, config.glu_dim)
        self.norm = SRMSNorm(config.tnl_norm_eps)

    def forward(self, x: Tensor, **options) -> Tuple[Tensor, Optional[Tensor]]:
        y, state = self.token_mixer(self.norm(x), **options)
        x = x + y
        return x + self.channel_mixer(self.norm(x)), state


class _Layers(nn.Module):  # the prefix "model." of the released names
    def __init__(self, config: TransNormerConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(
            config.vocab_size, config.decoder_embed_dim, padding_idx=config.pad_token_id
        )
        self.layers = nn.ModuleList(TnlLayer(config, i) for i in range(config.decoder_layers))


class TransNormerLM(nn.Module):
    """The language model, either generation. State dictionaries are those of the released files."""

    def __init__(self, config: TransNormerConfig):
        super().__init__()
        self.config = config
        self.model = _Layers(config)
        self.norm = SRMSNorm(config.tnl_norm_eps)
        self.lm_head = nn.Linear(config.decoder_embed_dim, config.vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=config.init_std)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        tokens: Tensor,
        *,
        targets: Optional[Tensor] = None,
        mask: Optional[Tensor] = None,
        positions: Optional[Tensor] = None,
        states: Optional[List[Tensor]] = None,
        output_states: bool = False,
        cu_seqlens: Optional[Tensor] = None,
    ):
        """Logits [B, T, vocab] of tokens [B, T]; with `targets` [B, T] (-100 is ignored) the mean
        cross entropy instead; with `output_states` a pair, the second the state of every layer, to
        be given back as `states` together with the positions that follow."""
        x = self.model.embed_tokens(tokens)
        if not self.config.no_scale_embedding:
            x = x * math.sqrt(self.config.decoder_embed_dim)
        if cu_seqlens is not None and positions is None:
            positions = _packed_positions(cu_seqlens, tokens.shape[1])
        after = []
        for i, layer in enumerate(self.model.layers):
            x, state = layer(
                x, mask=mask, positions=positions, state=states[i] if states else None,
                output_state=output_states, cu_seqlens=cu_seqlens,
            )
            after.append(state)
        result = self.lm_head(self.norm(x))
        if targets is not None:
            result = F.cross_entropy(result.flatten(0, 1).float(), targets.flatten())
        return (result, after) if output_states else result

    @classmethod
    def from_pretrained(
        cls,
        directory: Union[str, Path],
        *,
        dtype: Optional[torch.dtype] = None,
        device: Union[str, torch.device, None] = None,
    ) -> "TransNormerLM":
        """A model directory as `tnl train` or Hugging Face leave it, .safetensors or .bin."""
        from tnl.convert import read_weights

        config = TransNormerConfig.read(directory)
        weights = read_weights(directory)
        if config.tie_word_embeddings:
            weights.setdefault("lm_head.weight", weights.get("model.embed_tokens.weight"))
        with torch.device("meta"):
            model = cls(config)
        model.load_state_dict(weights, strict=True, assign=True)
        if config.tie_word_embeddings:
            model.lm_head.weight = model.model.embed_tokens.weight
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        for i, layer in enumerate(model.model.layers):
            layer.token_mixer.log_decay = config.log_decay(i)
        return model.to(device=device, dtype=dtype)

    def save_pretrained(self, directory: Union[str, Path]) -> None:
        """config.json and model.safetensors, which `tnl` and from_pretrained read."""
        from tnl.convert import write_safetensors

        weights = {name: x.detach() for name, x in self.state_dict().items()}
        if self.config.tie_word_embeddings:
            del weights["lm_head.weight"]
        Path(directory).mkdir(parents=True, exist_ok=True)
        write_safetensors(weights, directory)
        self.config.write(directory, next(iter(weights.values())).dtype)


def _packed_positions(cu_seqlens: Tensor, total: int) -> Tensor:
    at = torch.arange(total, device=cu_seqlens.device)
    begin = cu_seqlens[torch.searchsorted(cu_seqlens, at, right=True) - 1]
    return at - begin
