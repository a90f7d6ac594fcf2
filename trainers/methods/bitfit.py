"""BitFit: train the biases (Ben Zaken et al., arXiv 2106.10199)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.domains import Float
from trainers.method import MethodConfig, register
from trainers.rows import Rows
from trainers.sites import Site
from trainers.trained import Delta, Tensors


@register
@dataclass(frozen=True, kw_only=True)
class BitFitConfig(MethodConfig):
    """Every bias of the encoder moves: linear layers, LayerNorms, the embeddings' LayerNorm.

    A pooler's bias is left out, because the heads read the tokens themselves.
    """

    name = "bitfit"
    formula = "W x + b + db at every linear layer and LayerNorm that has a bias b"
    reference = "Ben Zaken et al., 2106.10199"
    mergeable = True

    learning_rate: Annotated[float, Float(5e-4, 3e-2, log=True)] = 5e-3

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, BiasDelta]]:
        return [(site, BiasDelta(site.d_out)) for site in sites if site.bias]

    @classmethod
    def missing(cls, sites: Sequence[Site]) -> str:
        return "" if any(site.bias for site in sites) else "biases"


@dataclass(frozen=True)
class BiasDelta(Delta):
    """A change of one bias, zero at the start."""

    width: int
    kind = "bitfit"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"bias": torch.zeros(self.width)}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        return tensors["bias"].unsqueeze(1)
