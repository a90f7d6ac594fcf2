"""Prefix-tuning: trained keys and values in every layer (Li and Liang, arXiv 2101.00190)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.method import Float, Int, KeyValueDelta, MethodConfig, Tensors, register
from trainers.sites import Rows, Site


@register
@dataclass(frozen=True, kw_only=True)
class PrefixConfig(MethodConfig):
    """K' = [P_K; K], V' = [P_V; V] in every attention module; token positions are not shifted."""

    name = "prefix"

    prefix_length: Annotated[int, Int(1, 64, log=True)] = 10
    """Slots in front of the tokens; 10 is UniPELT's."""
    learning_rate: Annotated[float, Float(1e-3, 5e-2, log=True)] = 1e-2

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, PrefixDelta]]:
        return [(s, PrefixDelta(s.d_out, self.prefix_length)) for s in sites if s.role == "attention"]

    @classmethod
    def roles(cls) -> frozenset[str]:
        return frozenset({"attention"})


@dataclass(frozen=True)
class PrefixDelta(KeyValueDelta):
    """Keys and values of one layer."""

    width: int
    length: int
    kind = "prefix"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # Normal(0, 0.02), as UniPELT's authors initialise their prefix embedding.
        return {
            "keys": torch.empty(self.length, self.width).normal_(0, 0.02, generator=generator),
            "values": torch.empty(self.length, self.width).normal_(0, 0.02, generator=generator),
        }

    def constants(self) -> dict[str, Tensor]:
        return {"visible": torch.ones(self.length)}

    def keys_values(self, tensors: Tensors, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        return tensors["keys"].unsqueeze(1), tensors["values"].unsqueeze(1)
