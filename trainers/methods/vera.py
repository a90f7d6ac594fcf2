"""VeRA: scale the rows and columns of one random low-rank product (Kopiczko et al., arXiv 2310.11454)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor

from trainers.domains import Float, Int
from trainers.method import MethodConfig, register
from trainers.rows import Rows
from trainers.sites import Site
from trainers.trained import Delta, Tensors

MAX_RANK = 1024
SEED = 0
"""Of the random matrices, which are the same in every layer and every training."""


@register
@dataclass(frozen=True, kw_only=True)
class VeRAConfig(MethodConfig):
    """W x + b * (B (d * (A x))) at queries and values; A and B are random and frozen, b = 0 at the start."""

    name = "vera"
    formula = "W x + b * B (d * A x), A and B random, frozen and shared by all layers"
    reference = "Kopiczko et al., 2310.11454"
    mergeable = True
    peft_class = "VeraConfig"

    rank: Annotated[int, Int(16, MAX_RANK, log=True)] = 256
    d_initial: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1
    learning_rate: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, VeRADelta]]:
        return [
            (s, VeRADelta(s.d_in, s.d_out, self.rank, self.d_initial))
            for s in sites
            if s.role in ("query", "value")
        ]


@dataclass(frozen=True)
class VeRADelta(Delta):
    """`b * B (d * A x)` at one linear layer."""

    d_in: int
    d_out: int
    rank: int
    d_initial: float
    kind = "vera"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"d": torch.full((self.rank,), self.d_initial), "b": torch.zeros(self.d_out)}

    def constants(self) -> dict[str, Tensor]:
        # B is drawn for a fan-in of 1, so that its first `rank` columns serve every rank. One number for
        # each rank: padded with zeros, it keeps padding of `d` from learning.
        return {"spread": torch.full((self.rank,), 1 / math.sqrt(self.rank))}

    def frozen(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        a, b = _projections(self.d_in, self.d_out, weight.device, weight.dtype)
        return {"A": a, "B": b}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        rank = tensors["d"].shape[1]
        inner = (tensors["d"] * tensors["spread"]).to(x.dtype)
        low = x @ tensors["A"][:rank].mT * inner.unsqueeze(1)
        return low @ tensors["B"][:, :rank].mT * tensors["b"].unsqueeze(1)


@lru_cache(maxsize=16)
def _projections(d_in: int, d_out: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A (`[MAX_RANK, d_in]`) and B (`[d_out, MAX_RANK]`), Kaiming-uniform: bound sqrt(6 / fan-in).

    Layers of other widths have the first rows of the same B, as in peft.
    """
    generator = torch.Generator().manual_seed(SEED)
    bound = math.sqrt(6 / d_in)
    a = torch.empty(MAX_RANK, d_in).uniform_(-bound, bound, generator=generator)
    b = torch.empty(d_out, MAX_RANK).uniform_(-math.sqrt(6), math.sqrt(6), generator=generator)
    return a.to(device, dtype), b.to(device, dtype)
