"""UniPELT: several methods at once, each behind a learned gate (Mao et al., arXiv 2110.07577)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from trainers.method import (
    Choice,
    Delta,
    Float,
    Int,
    KeyValueDelta,
    MethodConfig,
    Tensors,
    Trained,
    When,
    register,
)
from trainers.methods.adapter import AdapterConfig
from trainers.methods.bitfit import BitFitConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.sites import Rows, Site

MIXTURES = ("AP", "AL", "PL", "APL", "AB", "PB", "LB", "APB", "ALB", "PLB", "APLB")
"""Unions by the paper's letters: Adapter, Prefix, LoRA, BitFit. The paper reports AP and APL."""


def has(letter: str) -> Callable[[Mapping[str, Any]], bool]:
    """The condition that a union contains a module."""
    return lambda values: letter in values["modules"]


@register
@dataclass(frozen=True, kw_only=True)
class UniPELTConfig(MethodConfig):
    """A union of modules; each change is multiplied by mean(sigmoid(w x + b)) over the real tokens.

    One gate for each module that has one, at each site: LoRA has one at the query
    and one at the value, as in the authors' code (the paper counts one a
    layer). BitFit has none. The gate replaces LoRA's alpha/rank.
    """

    name = "unipelt"

    modules: Annotated[str, Choice(*MIXTURES)] = "APL"
    gated: Annotated[bool, Choice(True, False)] = True
    bottleneck: Annotated[int, Int(4, 256, log=True), When(has("A"))] = 48
    prefix_length: Annotated[int, Int(1, 64, log=True), When(has("P"))] = 10
    rank: Annotated[int, Int(1, 64, log=True), When(has("L"))] = 8
    learning_rate: Annotated[float, Float(2e-4, 2e-2, log=True)] = 2e-3

    def members(self) -> Sequence[MethodConfig]:
        """The methods of the union, with this configuration's numbers."""
        # Without gates LoRA keeps alpha = 2 * rank; with them the gate is the whole scale.
        alpha = float(self.rank) if self.gated else 2.0 * self.rank
        built: Mapping[str, MethodConfig] = {
            "A": AdapterConfig(bottleneck=self.bottleneck),
            "P": PrefixConfig(prefix_length=self.prefix_length),
            "L": LoRAConfig(rank=self.rank, alpha=alpha),
            "B": BitFitConfig(),
        }
        return [built[letter] for letter in self.modules]

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, Trained]]:
        found = [pair for member in self.members() for pair in member.deltas(sites)]
        return [(site, _gate(delta, site)) for site, delta in found] if self.gated else found

    @property
    def stack_key(self) -> tuple[object, ...]:
        return (self.name, self.modules, self.gated)

    @classmethod
    def roles(cls) -> frozenset[str]:
        members = (AdapterConfig, PrefixConfig, LoRAConfig, BitFitConfig)
        return frozenset().union(*(member.roles() for member in members))

    @classmethod
    def strong_defaults(cls) -> Sequence[MethodConfig]:
        return (cls(modules="APL"), cls(modules="AP"))


def _gate(delta: Trained, site: Site) -> Trained:
    if isinstance(delta, KeyValueDelta):
        return GatedKeyValueDelta(delta, site.d_in)
    if isinstance(delta, Delta) and delta.kind != "bias":
        return GatedDelta(delta, site.d_in)
    return delta


def gate(tensors: Tensors, x: Tensor, rows: Rows) -> Tensor:
    """Gate values `[candidates, batch]`: sigmoid at each token, then the mean over the real ones."""
    logits = x @ tensors["gate.weight"].unsqueeze(-1)
    return rows.mean((logits.squeeze(-1).float() + tensors["gate.bias"].float()).sigmoid())


def _gate_tensors(width: int, generator: torch.Generator) -> dict[str, Tensor]:
    # Weight Normal(0, 0.02), bias 0: every gate starts near one half, as in the authors' code.
    return {
        "gate.weight": torch.empty(width).normal_(0, 0.02, generator=generator),
        "gate.bias": torch.zeros(1),
    }


@dataclass(frozen=True)
class GatedDelta(Delta):
    """A delta whose change is multiplied by its gate."""

    inner: Delta
    width: int

    @property
    def kind(self) -> str:
        return f"gated {self.inner.kind}"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {**self.inner.initial(generator), **_gate_tensors(self.width, generator)}

    def constants(self) -> dict[str, Tensor]:
        return self.inner.constants()

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        value = rows.spread(gate(tensors, x, rows)).unsqueeze(-1)
        return self.inner.change(tensors, x, y, rows) * value.to(y.dtype)


@dataclass(frozen=True)
class GatedKeyValueDelta(KeyValueDelta):
    """Prefix keys and values, both multiplied by one gate."""

    inner: KeyValueDelta
    width: int

    @property
    def kind(self) -> str:
        return f"gated {self.inner.kind}"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {**self.inner.initial(generator), **_gate_tensors(self.width, generator)}

    def constants(self) -> dict[str, Tensor]:
        return self.inner.constants()

    def keys_values(self, tensors: Tensors, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        keys, values = self.inner.keys_values(tensors, x, rows)
        value = gate(tensors, x, rows)[:, :, None, None].to(keys.dtype)
        return keys * value, values * value
