"""Prompt tuning: trained vectors in front of the embedded tokens (Lester et al., arXiv 2104.08691)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.domains import Choice, Float, Int
from trainers.method import MethodConfig, register
from trainers.sites import Site
from trainers.trained import PromptDelta, Tensors


@register
@dataclass(frozen=True, kw_only=True)
class PromptConfig(MethodConfig):
    """[P; E] instead of the embedded tokens E; the tokens' positions start behind the prompt.

    Heads read the tokens only, never the prompt.
    """

    name = "prompt"
    searched = "named"  # at the size of a laptop's backbones it trails all others (its paper, figure 1)
    formula = "[P; E] in place of the embedded tokens E"
    reference = "Lester et al., 2104.08691"
    mergeable = False
    peft_class = "PromptTuningConfig"

    prompt_length: Annotated[int, Int(1, 100, log=True)] = 20
    layers: Annotated[str, Choice("all")] = "all"
    learning_rate: Annotated[float, Float(1e-3, 3e-1, log=True)] = 3e-2

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, VectorsDelta]]:
        return [(s, VectorsDelta(s.d_out, self.prompt_length)) for s in sites if s.role == "input"]


@dataclass(frozen=True)
class VectorsDelta(PromptDelta):
    """The vectors of one prompt; the first stands next to the tokens."""

    width: int
    length: int
    kind = "prompt"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # Normal(0, 0.02): how BERT's own embeddings were initialised.
        return {"vectors": torch.empty(self.length, self.width).normal_(0, 0.02, generator=generator)}

    def constants(self) -> dict[str, Tensor]:
        return {"visible": torch.ones(self.length)}

    def vectors(self, tensors: Tensors) -> Tensor:
        return tensors["vectors"]
