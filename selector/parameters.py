"""The search space as Optuna's parameters: a method, then its fields such as `lora.rank`; and back."""

from __future__ import annotations

from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from selector.space import Space, start_of
from trainers.domains import Choice, Domain, Int
from trainers.method import MethodConfig, conditions_of

METHOD = "method"
"""Name of the parameter that all others depend on."""


def suggest(trial: Trial, space: Space) -> MethodConfig:
    """Ask for a method and then for those of its fields that count, as `lora.rank`.

    A field's condition sees what was asked before it and the defaults of the rest.
    """
    by_name = {method.name: method for method in space.methods}
    method = by_name[trial.suggest_categorical(METHOD, list(by_name))]
    values = start_of(method, space)
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
        if not is_fixed(known[name]):
            values[f"{config.name}.{name}"] = value
            found[f"{config.name}.{name}"] = distribution(known[name])
    return values, found


def is_fixed(domain: Domain) -> bool:
    """Whether there is one value only; Optuna is not asked for it and records nothing."""
    return isinstance(domain, Choice) and len(domain.options) == 1


def _ask(trial: Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return domain.options[0] if is_fixed(domain) else trial.suggest_categorical(name, domain.options)
    if isinstance(domain, Int):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)


def distribution(domain: Domain) -> BaseDistribution:
    """A domain as Optuna knows it."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
