"""Compacter: adapters made of sums of Kronecker products (Mahabadi et al., arXiv 2106.04647)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import gelu

from trainers.domains import Choice, Float, Int
from trainers.method import MethodConfig, register
from trainers.rows import Rows
from trainers.sites import Site
from trainers.trained import Delta, Tensors

PLACEMENTS = {"attention and ffn": ("attention_output", "ffn_out"), "ffn": ("ffn_out",)}
"""Compacter and Compacter++."""
DIMENSIONS = (2, 4, 8)


@register
@dataclass(frozen=True, kw_only=True)
class CompacterConfig(MethodConfig):
    """f + up(gelu(down(f))) behind frozen blocks f, up and down each a sum over i of A_i (x) (s_i t_i).

    `(x)` is the Kronecker product. The A_i, `[dimension, dimension]`, are the same in all layers and
    in up and down.
    """

    name = "compacter"
    searched = "named"
    formula = "f + Up(gelu(Down(f))), Up and Down sums of A_i (x) (s_i t_i), the A_i shared by all layers"
    reference = "Mahabadi et al., 2106.04647"
    mergeable = False

    placement: Annotated[str, Choice(*PLACEMENTS)] = "attention and ffn"
    """`ffn` is the paper's Compacter++."""
    dimension: Annotated[int, Choice(*DIMENSIONS)] = 4
    """Of the A_i, and their number; it divides the width of the model."""
    rank: Annotated[int, Int(1, 8, log=True)] = 1
    """Of s_i t_i."""
    bottleneck: Annotated[int, Choice(8, 24, 48, 96)] = 24
    """Width in the middle, a multiple of every dimension; 24 is 768/32."""
    learning_rate: Annotated[float, Float(2e-4, 2e-2, log=True)] = 3e-3

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, CompacterDelta]]:
        roles = PLACEMENTS[self.placement]
        return [(site, self._delta(site)) for site in sites if site.role in roles]

    def _delta(self, site: Site) -> CompacterDelta:
        if site.d_out % self.dimension:
            raise ValueError(
                f"compacter.dimension is {self.dimension}; it must divide the width {site.d_out}"
            )
        return CompacterDelta(site.d_out, self.dimension, self.rank, self.bottleneck)

    @property
    def stack_key(self) -> tuple[object, ...]:
        return (self.name, self.placement, self.dimension)

    @classmethod
    def missing(cls, sites: Sequence[Site]) -> str:
        return "" if _dimensions(sites) else "a width that 2, 4 or 8 divides"

    @classmethod
    def options_on(cls, sites: Sequence[Site]) -> Mapping[str, Choice]:
        return {"dimension": Choice(*_dimensions(sites))}


def _dimensions(sites: Sequence[Site]) -> list[int]:
    widths = {site.d_out for site in sites if site.role in PLACEMENTS["attention and ffn"]}
    return [n for n in DIMENSIONS if widths and all(width % n == 0 for width in widths)]


@dataclass(frozen=True)
class CompacterDelta(Delta):
    """`up(gelu(down(y)))` behind one block."""

    width: int
    dimension: int
    rank: int
    bottleneck: int
    kind = "compacter"
    shared = frozenset({"a"})

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        n, wide, narrow = self.dimension, self.width // self.dimension, self.bottleneck // self.dimension
        # The numbers of a sum then have a deviation of 0.02, as those of our other adapters.
        deviation = math.sqrt(0.02 / math.sqrt(self.rank))

        def normal(*shape: int, deviation: float = deviation) -> Tensor:
            return torch.empty(shape).normal_(0, deviation, generator=generator)

        return {
            "a": normal(n, n, n, deviation=1 / math.sqrt(n)),
            "down.s": normal(n, wide, self.rank),
            "down.t": normal(n, self.rank, narrow),
            # In blocks: the padding of a smaller bottleneck stands at the end of each.
            "down.bias": torch.zeros(n, narrow),
            "up.s": normal(n, narrow, self.rank),
            "up.t": normal(n, self.rank, wide),
            "up.bias": torch.zeros(self.width),
        }

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        down = kronecker_sum(tensors["a"], tensors["down.s"], tensors["down.t"])
        up = kronecker_sum(tensors["a"], tensors["up.s"], tensors["up.t"])
        hidden = torch.baddbmm(tensors["down.bias"].flatten(1).unsqueeze(1), y, down)
        return torch.baddbmm(tensors["up.bias"].unsqueeze(1), gelu(hidden), up)


def kronecker_sum(a: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """`sum_i a_i (x) (s_i t_i)` of each candidate, `[candidates, n * p, n * q]`."""
    product = torch.einsum("cikl,cipq->ckplq", a, s @ t)
    return product.flatten(3).flatten(1, 2)
