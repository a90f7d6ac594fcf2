"""(IA)^3: scale keys, values and hidden feed-forward activations (Liu et al., arXiv 2205.05638)."""

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

ROLES = ("key", "value", "ffn_hidden")


@register
@dataclass(frozen=True, kw_only=True)
class IA3Config(MethodConfig):
    """k * (1 + l_k), v * (1 + l_v), and act(W_1 x) * (1 + l_f) in front of W_2; every l is 0 at the start."""

    name = "ia3"
    formula = "l_k * k, l_v * v, l_f * act(W_1 x), each l = 1 at the start"
    reference = "Liu et al., 2205.05638"
    mergeable = True
    peft_class = "IA3Config"

    learning_rate: Annotated[float, Float(5e-4, 5e-2, log=True)] = 1e-2

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, ScaleDelta]]:
        return [(site, ScaleDelta(site.d_out)) for site in sites if site.role in ROLES]


@dataclass(frozen=True)
class ScaleDelta(Delta):
    """`scale * y`: the change of `y` when it is multiplied by `1 + scale`."""

    width: int
    kind = "ia3"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"scale": torch.zeros(self.width)}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        return tensors["scale"].unsqueeze(1) * y
