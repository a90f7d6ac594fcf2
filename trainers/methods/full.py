"""Full fine-tuning: every weight of the model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.domains import Float
from trainers.method import MethodConfig, register
from trainers.sites import Site
from trainers.trained import WeightDelta


@register
@dataclass(frozen=True, kw_only=True)
class FullConfig(MethodConfig):
    """W + dW for every parameter; weight decay pulls back to the pre-trained weights.

    The upper end of the scale: one candidate at a time, and a copy of the whole model to store.
    """

    name = "full"
    searched = "named"
    alone = True
    formula = "W + dW for every parameter W"
    reference = "-"
    mergeable = True

    learning_rate: Annotated[float, Float(5e-6, 5e-4, log=True)] = 5e-5

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, ParameterDelta]]:
        return [(site, ParameterDelta(site.shape)) for site in sites if site.role == "parameter"]


@dataclass(frozen=True)
class ParameterDelta(WeightDelta):
    """The change of one parameter, zero at the start."""

    shape: tuple[int, ...]
    kind = "full"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"change": torch.zeros(self.shape)}

    def shapes(self) -> dict[str, torch.Size]:
        return {"change": torch.Size(self.shape)}
