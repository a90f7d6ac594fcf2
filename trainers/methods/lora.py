"""LoRA: a low-rank change of linear layers (Hu et al., arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.method import Choice, Delta, Float, Int, MethodConfig, Tensors, register
from trainers.sites import LINEAR_ROLES, Rows, Site

TARGETS = {
    "query value": ("query", "value"),
    "attention": ("query", "key", "value", "attention_output"),
    "all linear": LINEAR_ROLES,
}
"""`query value` is the paper's choice; `all linear` is what most later work found to be best."""


@register
@dataclass(frozen=True, kw_only=True)
class LoRAConfig(MethodConfig):
    """y = Wx + alpha/rank * B A x, with B = 0 at the start."""

    name = "lora"

    rank: Annotated[int, Int(1, 64, log=True)] = 8
    alpha: Annotated[float, Float(1.0, 128.0, log=True)] = 16.0
    """Numerator of the scale alpha/rank; 16 at rank 8 is UniPELT's setting."""
    targets: Annotated[str, Choice(*TARGETS)] = "query value"
    learning_rate: Annotated[float, Float(2e-4, 2e-2, log=True)] = 2e-3

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, LoRADelta]]:
        scale = self.alpha / self.rank
        roles = TARGETS[self.targets]
        return [(s, LoRADelta(s.d_in, s.d_out, self.rank, scale)) for s in sites if s.role in roles]

    @property
    def stack_key(self) -> tuple[object, ...]:
        return (self.name, self.targets)

    @classmethod
    def roles(cls) -> frozenset[str]:
        return frozenset(LINEAR_ROLES)


@dataclass(frozen=True)
class LoRADelta(Delta):
    """`scale * B A x` at one linear layer."""

    d_in: int
    d_out: int
    rank: int
    scale: float
    kind = "lora"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # Kaiming-uniform with a = sqrt(5), as torch initialises a linear layer: bound 1/sqrt(d_in).
        bound = 1 / math.sqrt(self.d_in)
        a = torch.empty(self.rank, self.d_in).uniform_(-bound, bound, generator=generator)
        return {"a": a, "b": torch.zeros(self.d_out, self.rank)}

    def constants(self) -> dict[str, Tensor]:
        return {"scale": torch.tensor(self.scale)}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        scaled = (tensors["b"] * tensors["scale"][:, None, None]).to(x.dtype)
        return x @ tensors["a"].mT @ scaled.mT
