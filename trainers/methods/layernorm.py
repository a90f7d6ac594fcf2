"""LayerNorm tuning: train scale and shift of every normalisation (Zhao et al., arXiv 2312.11420)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.domains import Float
from trainers.method import MethodConfig, register
from trainers.rows import Rows
from trainers.sites import Norm, Site
from trainers.trained import Delta, Tensors


@register
@dataclass(frozen=True, kw_only=True)
class LayerNormConfig(MethodConfig):
    """(g + dg) * n(x) + b + db, with n the normalisation; an RMSNorm has no b."""

    name = "layernorm"
    formula = "(g + dg) * n(x) + b + db at every LayerNorm; (g + dg) * n(x) at an RMSNorm"
    reference = "Zhao et al., 2312.11420"
    mergeable = True
    peft_class = "LNTuningConfig"

    learning_rate: Annotated[float, Float(5e-4, 3e-2, log=True)] = 5e-3

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, NormDelta]]:
        return [(s, NormDelta(s.d_out, s.norm, s.bias)) for s in sites if s.norm is not None]


@dataclass(frozen=True)
class NormDelta(Delta):
    """`scale * n(x) + bias`."""

    width: int
    norm: Norm
    has_bias: bool
    kind = "layernorm"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        scale = {"scale": torch.zeros(self.width)}
        return {**scale, "bias": torch.zeros(self.width)} if self.has_bias else scale

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        scaled = tensors["scale"].unsqueeze(1) * self.norm.normalise(x)
        return scaled + tensors["bias"].unsqueeze(1) if self.has_bias else scaled
