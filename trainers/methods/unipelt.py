"""UniPELT: several methods at once, each behind a learned gate (Mao et al., arXiv 2110.07577)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from trainers.domains import Choice, Float, Int, When
from trainers.gating import POOLINGS, GatedDelta, GatedKeyValueDelta, GateSettings
from trainers.method import MethodConfig, register
from trainers.methods.adapter import AdapterConfig
from trainers.methods.bitfit import BitFitConfig
from trainers.methods.ia3 import IA3Config
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.sites import Site
from trainers.trained import KeyValueDelta, Trained

LETTERS = "APLBI"
"""Adapter, Prefix, LoRA, BitFit, (IA)^3; the paper's letters, and one more."""
METHOD_OF: Mapping[str, type[MethodConfig]] = {
    "A": AdapterConfig,
    "P": PrefixConfig,
    "L": LoRAConfig,
    "B": BitFitConfig,
    "I": IA3Config,
}
MIXTURES = ("AP", "AL", "PL", "APL", "LB", "LI", "APLB", "APLI")
"""The unions that are searched; the paper reports AP and APL."""
GATED = ("APL", "none")
"""The modules that have a gate; the paper's A, P and L have one each."""


def _is_union(value: object) -> bool:
    return _is_some_letters(value) and len(str(value)) > 1


def _is_some_letters(value: object) -> bool:
    return isinstance(value, str) and value != "" and value == "".join(x for x in LETTERS if x in value)


def has(letter: str) -> Callable[[Mapping[str, Any]], bool]:
    """The condition that a union contains a module."""
    return lambda values: letter in values["modules"]


def is_gated(values: Mapping[str, Any]) -> bool:
    """The condition that a union has a gate."""
    return any(letter in values["gates"] for letter in values["modules"])


@register
@dataclass(frozen=True, kw_only=True)
class UniPELTConfig(MethodConfig):
    """A union of modules; each change is multiplied by its gate, mean(sigmoid(w x + b)) over the tokens.

    One gate for each module that has one, at each site: LoRA has one at the query
    and one at the value, as in the authors' code (the paper counts one a
    layer). The gate replaces LoRA's alpha/rank.
    """

    name = "unipelt"
    formula = "sum of the changes of adapter, prefix, LoRA, BitFit, (IA)^3, each times mean(sigmoid(w x + b))"
    reference = "Mao et al., 2110.07577"
    mergeable = False

    modules: Annotated[
        str, Choice(*MIXTURES, also=_is_union, hint=f"two or more letters of {LETTERS}, in this order")
    ] = "APL"
    gates: Annotated[
        str, Choice(*GATED, also=_is_some_letters, hint=f"the gated ones of {LETTERS}, in this order")
    ] = "APL"
    pooling: Annotated[
        str, Choice("real tokens", "first token", also=POOLINGS.__contains__, hint="all tokens")
    ] = "real tokens"
    """What a gate averages over; `all tokens`, padding included, is the authors' code."""
    gate_start: Annotated[float, Choice(0.5, 0.1, 0.9), When(is_gated)] = 0.5
    """How far the gates are open at the start; 0.5 is the paper's."""
    gate_penalty: Annotated[float, Choice(0.0, 0.01, 0.1), When(is_gated)] = 0.0
    """What the loss is raised by for fully open gates, so that modules that do not help close theirs."""
    bottleneck: Annotated[int, Int(4, 256, log=True), When(has("A"))] = 48
    prefix_length: Annotated[int, Int(1, 64, log=True), When(has("P"))] = 10
    reparametrised: Annotated[bool, Choice(False, True), When(has("P"))] = False
    rank: Annotated[int, Int(1, 64, log=True), When(has("L"))] = 8
    learning_rate: Annotated[float, Float(2e-4, 2e-2, log=True)] = 2e-3

    def members(self) -> Mapping[str, MethodConfig]:
        """Letter -> the method, with this configuration's numbers."""
        # Without its gate LoRA keeps alpha = 2 * rank; with it the gate is the whole scale.
        alpha = float(self.rank) if "L" in self.gates else 2.0 * self.rank
        built: Mapping[str, MethodConfig] = {
            "A": AdapterConfig(bottleneck=self.bottleneck),
            "P": PrefixConfig(prefix_length=self.prefix_length, reparametrised=self.reparametrised),
            "L": LoRAConfig(rank=self.rank, alpha=min(alpha, 128.0)),
            "B": BitFitConfig(),
            "I": IA3Config(),
        }
        return {letter: built[letter] for letter in self.modules}

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, Trained]]:
        found = [
            (letter, site, delta)
            for letter, member in self.members().items()
            for site, delta in member.deltas(sites)
        ]
        count = sum(letter in self.gates for letter, _, _ in found)
        settings = GateSettings(
            pooling=self.pooling,
            bias=math.log(self.gate_start / (1 - self.gate_start)),
            penalty=self.gate_penalty / max(1, count),
        )
        return [(s, _gated(d, s, settings) if letter in self.gates else d) for letter, s, d in found]

    @property
    def merges(self) -> bool:
        gated = any(letter in self.gates for letter in self.modules)
        return not gated and all(member.mergeable for member in self.members().values())

    @property
    def stack_key(self) -> tuple[object, ...]:
        gated = "".join(letter for letter in self.modules if letter in self.gates)
        return (self.name, self.modules, gated, self.pooling, "P" in self.modules and self.reparametrised)

    def deployed(self) -> MethodConfig:
        return replace(self, reparametrised=False)

    @classmethod
    def missing(cls, sites: Sequence[Site]) -> str:
        runs = "".join(letter for letter in LETTERS if not METHOD_OF[letter].missing(sites))
        return "" if len(runs) > 1 else "places for at least two of its modules"

    @classmethod
    def options_on(cls, sites: Sequence[Site]) -> Mapping[str, Choice]:
        runs = "".join(letter for letter in LETTERS if not METHOD_OF[letter].missing(sites))
        if runs == LETTERS:
            return {}
        return {
            "modules": Choice(
                *(union for union in MIXTURES if set(union) <= set(runs)),
                also=lambda value: _is_union(value) and set(str(value)) <= set(runs),
                hint=f"two or more letters of {runs}, in this order",
            )
        }

    @classmethod
    def strong_defaults(cls) -> Sequence[MethodConfig]:
        return (cls(modules="APL"), cls(modules="AP"))


def _gated(delta: Trained, site: Site, settings: GateSettings) -> Trained:
    if isinstance(delta, KeyValueDelta):
        return GatedKeyValueDelta(delta, site.d_in, settings)
    return GatedDelta(delta, site.d_in, settings)  # type: ignore[arg-type]
