"""LoReFT: edit the hidden states in a low-rank subspace (Wu et al., arXiv 2404.03592)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.domains import Float, Int
from trainers.method import MethodConfig, register
from trainers.rows import Rows
from trainers.sites import Site
from trainers.trained import Delta, Tensors


@register
@dataclass(frozen=True, kw_only=True)
class ReFTConfig(MethodConfig):
    """h + R' (W h + b - R h) behind each layer, at its first and last tokens; R has orthonormal rows."""

    name = "reft"
    formula = "h + R' (W h + b - R h) at the first and last tokens, R R' = I"
    reference = "Wu et al., 2404.03592"
    mergeable = False

    rank: Annotated[int, Int(1, 32, log=True)] = 4
    positions: Annotated[int, Int(1, 128, log=True)] = 8
    """Tokens edited at each end of the text; all, when it has no more than twice as many."""
    learning_rate: Annotated[float, Float(2e-4, 2e-2, log=True)] = 2e-3

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, ReFTDelta]]:
        return [(s, ReFTDelta(s.d_out, self.rank, self.positions)) for s in sites if s.role == "layer"]


@dataclass(frozen=True)
class ReFTDelta(Delta):
    """`R' (W h + b - R h)` behind one layer. R is trained as any matrix M: R = L^-1 M with M M' = L L'."""

    width: int
    rank: int
    positions: int
    kind = "reft"
    per_example = True

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        directions = torch.empty(self.rank, self.width).normal_(0, 1, generator=generator)
        directions = torch.linalg.qr(directions.mT).Q.mT.contiguous()
        bound = 1 / math.sqrt(self.width)
        weight = torch.empty(self.rank, self.width).uniform_(-bound, bound, generator=generator)
        return {"directions": directions, "weight": weight, "bias": torch.zeros(self.rank)}

    def constants(self) -> dict[str, Tensor]:
        return {"rank": torch.ones(self.rank), "positions": torch.tensor(float(self.positions))}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        r = orthonormal(tensors["directions"].float(), tensors["rank"]).to(y.dtype)
        aimed = torch.baddbmm(tensors["bias"].unsqueeze(1), y, tensors["weight"].mT)
        edited = rows.near_the_ends(tensors["positions"], tensors["positions"]).unsqueeze(-1)
        return (aimed - y @ r.mT) @ r * edited.to(y.dtype)


def orthonormal(directions: Tensor, present: Tensor) -> Tensor:
    """Orthonormal rows that span the same: Cholesky of `M M'`; rows that a candidate lacks stay zero."""
    products = directions @ directions.mT + torch.diag_embed(1 - present)
    rows: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(products), directions, upper=False)
    return rows
