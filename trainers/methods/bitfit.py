"""BitFit: train the biases (Ben Zaken et al., arXiv 2106.10199)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.method import Delta, Float, MethodConfig, Tensors, register
from trainers.sites import LINEAR_ROLES, NORM_ROLES, Rows, Site


@register
@dataclass(frozen=True, kw_only=True)
class BitFitConfig(MethodConfig):
    """Every bias of the encoder moves: linear layers, LayerNorms, the embeddings' LayerNorm.

    A pooler's bias is left out, because the heads read the mean of the tokens.
    """

    name = "bitfit"

    learning_rate: Annotated[float, Float(5e-4, 3e-2, log=True)] = 5e-3

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, BiasDelta]]:
        roles = LINEAR_ROLES + NORM_ROLES
        return [(s, BiasDelta(s.d_out)) for s in sites if s.role in roles]

    @classmethod
    def roles(cls) -> frozenset[str]:
        return frozenset(LINEAR_ROLES + NORM_ROLES)


@dataclass(frozen=True)
class BiasDelta(Delta):
    """A change of one bias, zero at the start."""

    width: int
    kind = "bias"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"bias": torch.zeros(self.width)}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        return tensors["bias"].unsqueeze(1)
