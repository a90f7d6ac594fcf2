"""The search space: a method, then its fields; to and from Optuna's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from trainers.bridge import PREFIX
from trainers.building import method_named
from trainers.domains import Choice, Domain, Int
from trainers.imbalance import choices_for
from trainers.method import METHODS, MethodConfig, conditions_of, domains
from trainers.sites import Site
from trainers.task import Task

METHOD = "method"
"""Name of the parameter that all others depend on."""
FIRST = ("lora", "adapter", "bitfit", "unipelt", "prefix")
"""A short search tries these before all others."""


@dataclass(frozen=True)
class Space:
    """What is searched: methods, and the domain of each of their fields."""

    methods: tuple[type[MethodConfig], ...]
    domains: Mapping[str, Mapping[str, Domain]]
    """Method -> field -> domain, no wider than the method's own."""

    def only(self, names: Iterable[str]) -> Space:
        """The same space with some of its methods."""
        kept = set(names)
        return Space(tuple(method for method in self.methods if method.name in kept), self.domains)

    def contains(self, config: MethodConfig) -> bool:
        """Whether every field that counts lies inside its domain."""
        known = self.domains[config.name]
        return all(known[name].contains(value) for name, value in config.values().items())


def space_of(
    methods: Sequence[type[MethodConfig]], sites: Sequence[Site] = (), task: Task | None = None
) -> Space:
    """The whole space of some methods, as far as a backbone with these sites and a task allow it."""
    on_task = {} if task is None else choices_for(task)
    return Space(
        tuple(methods),
        {m.name: {**domains(m), **(m.options_on(sites) if sites else {}), **on_task} for m in methods},
    )


def choose_methods(
    names: Sequence[str] | None, sites: Sequence[Site]
) -> tuple[list[type[MethodConfig]], list[str]]:
    """The methods to search (None: the usual ones) on a backbone, and why others are left out.

    Raises:
        ValueError: for no name, an unknown one, or a method that is not searched.
    """
    searched = [name for name, method in METHODS.items() if method.searched != "never"]
    usual = sorted((n for n in searched if METHODS[n].searched == "always"), key=_turn)
    chosen: list[type[MethodConfig]] = []
    reasons = []
    named = [METHODS[name] for name in usual] if names is None else _checked(names, searched)
    for method in dict.fromkeys(named):
        missing = method.missing(sites)
        if missing:
            reasons.append(f"{method.name} is left out: the backbone does not offer {missing}")
        else:
            chosen.append(method)
    return chosen, reasons


def _turn(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _checked(names: Sequence[str], searched: Sequence[str]) -> list[type[MethodConfig]]:
    possible = f"methods: {', '.join(searched)}, and those of peft, such as peft:OFT"
    if not names:
        raise ValueError(f"no method is named; {possible}")
    for name in names:
        if name in METHODS and name not in searched:
            raise ValueError(f"{name} runs as a baseline of every study and is not searched; {possible}")
        if name not in METHODS and not name.lower().startswith(PREFIX):
            raise ValueError(f"method {name!r} is unknown; {possible}")
    return [method_named(name) for name in names]


def defaults(space: Space) -> list[MethodConfig]:
    """The strong defaults of a first round: the first of each method, then the second of each, ..."""
    rounds = zip_longest(*(_defaults(method, space) for method in space.methods))
    return [config for configs in rounds for config in configs if config is not None]


def _defaults(method: type[MethodConfig], space: Space) -> list[MethodConfig]:
    """A method's strong defaults inside the space; where it has none, its default moved into the space."""
    inside = [config for config in method.strong_defaults() if space.contains(config)]
    return inside or [method.from_values({**_start(method), **_moved(method, space.domains[method.name])})]


def _start(method: type[MethodConfig]) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(method)}


def _moved(method: type[MethodConfig], allowed: Mapping[str, Domain]) -> dict[str, Any]:
    return {
        name: value if allowed[name].contains(value) else _nearest(allowed[name], value)
        for name, value in _start(method).items()
    }


def _nearest(domain: Domain, value: Any) -> Any:
    if isinstance(domain, Choice):
        return domain.options[0]
    return min(max(value, domain.low), domain.high)


def suggest(trial: Trial, space: Space) -> MethodConfig:
    """Ask for a method and then for those of its fields that count, as `lora.rank`.

    A field's condition sees what was asked before it and the defaults of the rest.
    """
    by_name = {method.name: method for method in space.methods}
    method = by_name[trial.suggest_categorical(METHOD, list(by_name))]
    values = _start(method)
    conditions = conditions_of(method)
    for name, domain in space.domains[method.name].items():
        if name not in conditions or conditions[name].holds(values):
            values[name] = _ask(trial, f"{method.name}.{name}", domain)
    return method.from_values(values)


def parameters(config: MethodConfig, space: Space) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """What Optuna would have recorded, had it suggested the configuration in this space."""
    values: dict[str, Any] = {METHOD: config.name}
    found: dict[str, BaseDistribution] = {
        METHOD: CategoricalDistribution([method.name for method in space.methods])
    }
    known = space.domains[config.name]
    for name, value in config.values().items():
        if not _is_fixed(known[name]):
            values[f"{config.name}.{name}"] = value
            found[f"{config.name}.{name}"] = _distribution(known[name])
    return values, found


def _is_fixed(domain: Domain) -> bool:
    return isinstance(domain, Choice) and len(domain.options) == 1


def _ask(trial: Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return domain.options[0] if _is_fixed(domain) else trial.suggest_categorical(name, domain.options)
    if isinstance(domain, Int):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
