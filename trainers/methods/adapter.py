"""Bottleneck adapter in Pfeiffer placement (Pfeiffer et al., arXiv 2005.00247)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.method import Delta, Float, Int, MethodConfig, Tensors, register
from trainers.sites import Rows, Site


@register
@dataclass(frozen=True, kw_only=True)
class AdapterConfig(MethodConfig):
    """One bottleneck a layer, after the feed-forward network, which reads the frozen LayerNorm's output.

    y = LN(up(relu(down(LN(f + a)))) + f + a), with `f` the feed-forward output and
    `a` its residual.
    """

    name = "adapter"

    bottleneck: Annotated[int, Int(4, 256, log=True)] = 48
    """Width in the middle; 48 is 768/16, the paper's for BERT-base."""
    learning_rate: Annotated[float, Float(2e-4, 1e-2, log=True)] = 1e-3

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, AdapterDelta]]:
        return [(s, AdapterDelta(s.d_out, self.bottleneck)) for s in sites if s.role == "ffn_residual"]

    @classmethod
    def roles(cls) -> frozenset[str]:
        return frozenset({"ffn_residual"})


@dataclass(frozen=True)
class AdapterDelta(Delta):
    """`up(relu(down(x)))`."""

    width: int
    bottleneck: int
    kind = "adapter"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # Normal(0, 0.02) and zero biases: as in UniPELT's authors' code.
        return {
            "down.weight": torch.empty(self.bottleneck, self.width).normal_(0, 0.02, generator=generator),
            "down.bias": torch.zeros(self.bottleneck),
            "up.weight": torch.empty(self.width, self.bottleneck).normal_(0, 0.02, generator=generator),
            "up.bias": torch.zeros(self.width),
        }

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        hidden = torch.baddbmm(tensors["down.bias"].unsqueeze(1), x, tensors["down.weight"].mT).relu()
        return torch.baddbmm(tensors["up.bias"].unsqueeze(1), hidden, tensors["up.weight"].mT)
