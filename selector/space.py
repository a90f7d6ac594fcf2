"""The search space: a method, then its fields; to and from Optuna's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

import trainers.methods  # noqa: F401  (registers the methods)
from trainers.method import METHODS, Choice, Domain, Int, MethodConfig, conditions_of, domains
from trainers.sites import Site

METHOD = "method"
"""Name of the parameter that all others depend on."""


def choose_methods(
    names: Sequence[str] | None, sites: Sequence[Site]
) -> tuple[list[type[MethodConfig]], list[str]]:
    """The methods to search (None: all) on a backbone with these sites, and why others are left out.

    Raises:
        ValueError: for no name, an unknown one, or a method that is not searched.
    """
    searched = [name for name, method in METHODS.items() if method.searched != "never"]
    usual = [name for name, method in METHODS.items() if method.searched == "always"]
    chosen: list[type[MethodConfig]] = []
    reasons = []
    for name in dict.fromkeys(usual if names is None else _checked(names, searched)):
        missing = METHODS[name].missing(sites)
        if missing:
            reasons.append(f"{name} is left out: the backbone does not offer {missing}")
        else:
            chosen.append(METHODS[name])
    return chosen, reasons


def _checked(names: Sequence[str], searched: Sequence[str]) -> Sequence[str]:
    possible = f"methods: {', '.join(searched)}"
    if not names:
        raise ValueError(f"no method is named; {possible}")
    for name in names:
        if name not in METHODS:
            raise ValueError(f"method {name!r} is unknown; {possible}")
        if name not in searched:
            raise ValueError(f"{name} runs as a baseline of every study and is not searched; {possible}")
    return names


def defaults(methods: Sequence[type[MethodConfig]]) -> list[MethodConfig]:
    """The strong defaults of a first round: the first of each method, then the second of each, ..."""
    rounds = zip_longest(*(method.strong_defaults() for method in methods))
    return [config for configs in rounds for config in configs if config is not None]


def suggest(trial: Trial, methods: Sequence[type[MethodConfig]]) -> MethodConfig:
    """Ask for a method and then for those of its fields that count, as `lora.rank`.

    A field's condition sees what was asked before it and the defaults of the rest.
    """
    by_name = {method.name: method for method in methods}
    method = by_name[trial.suggest_categorical(METHOD, list(by_name))]
    values = dataclasses.asdict(method())
    conditions = conditions_of(method)
    for name, domain in domains(method).items():
        if name not in conditions or conditions[name].holds(values):
            values[name] = _ask(trial, f"{method.name}.{name}", domain)
    return method.from_values(values)


def parameters(
    config: MethodConfig, methods: Sequence[type[MethodConfig]]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """What Optuna would have recorded, had it suggested the configuration among these methods."""
    values: dict[str, Any] = {METHOD: config.name}
    found: dict[str, BaseDistribution] = {METHOD: CategoricalDistribution([one.name for one in methods])}
    known = domains(type(config))
    for name, value in config.values().items():
        values[f"{config.name}.{name}"] = value
        found[f"{config.name}.{name}"] = _distribution(known[name])
    return values, found


def _ask(trial: Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, domain.options)
    if isinstance(domain, Int):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
