"""The search space: a method, then its fields; which methods, and what is tried first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from trainers.bridge import PREFIX
from trainers.conditions import can_hold
from trainers.domains import Choice, Domain
from trainers.imbalance import choices_for
from trainers.method import METHODS, MethodConfig, conditions_of, domains
from trainers.naming import method_named
from trainers.sites import Site
from trainers.task import Task

FIRST = ("lora", "adapter", "bitfit", "unipelt", "prefix")
"""A short search tries these before all others."""


@dataclass(frozen=True)
class Space:
    """What is searched: methods, and the domain of each of their fields."""

    methods: tuple[type[MethodConfig], ...]
    domains: Mapping[str, Mapping[str, Domain]]
    """Method -> field -> domain, no wider than the method's own."""
    _looked_up: dict[tuple[object, ...], MethodConfig | None] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What `find` has found."""

    def only(self, names: Iterable[str]) -> Space:
        """The same space with some of its methods."""
        kept = set(names)
        methods = tuple(method for method in self.methods if method.name in kept)
        return Space(methods, self.domains, self._looked_up)

    def contains(self, config: MethodConfig) -> bool:
        """Whether every field that counts has a value that is searched."""
        known = self.domains[config.name]
        return all(_searches(known[name], value) for name, value in config.values().items())

    def find(self, method: type[MethodConfig], values: Mapping[str, Any]) -> MethodConfig | None:
        """The configuration with these values, or None where it is not searched; the same one each time.

        Raises:
            ValueError: for an unknown field or a value outside the method's own domain.
        """
        key = (method.name, *sorted(values.items()))
        if key not in self._looked_up:
            config = method.from_values(values)
            self._looked_up[key] = config if self.contains(config) else None
        return self._looked_up[key]


def _searches(domain: Domain, value: Any) -> bool:
    """Whether a value is among those of a domain that are tried, not only allowed."""
    return domain.searches(value) if isinstance(domain, Choice) else domain.contains(value)


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

    Without sites, that is without a backbone, none is left out.

    Raises:
        ValueError: for no name, an unknown one, or a method that is not searched.
    """
    searched = [name for name, method in METHODS.items() if method.searched != "never"]
    usual = sorted((n for n in searched if METHODS[n].searched == "always"), key=_turn)
    chosen: list[type[MethodConfig]] = []
    reasons = []
    named = [METHODS[name] for name in usual] if names is None else _checked(names, searched)
    for method in dict.fromkeys(named):
        missing = method.missing(sites) if sites else ""
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
    """The strong defaults of a first round: the first of each method, then the second of each, ...

    A default outside the space is moved into it; of those that are then equal one is left.
    """
    rounds = zip_longest(*(_defaults(method, space) for method in space.methods))
    return [config for configs in rounds for config in configs if config is not None]


def _defaults(method: type[MethodConfig], space: Space) -> list[MethodConfig]:
    inside = [one for one in method.strong_defaults() if space.contains(one)]
    others = [one for one in method.strong_defaults() if not space.contains(one)]
    shifted = [method.from_values(moved(one, space.domains[method.name])) for one in others]
    # Those that fit come first: one that was moved may have lost what made it strong.
    return list({key_of(config): config for config in reversed([*inside, *shifted])}.values())[::-1]


def start_of(method: type[MethodConfig], space: Space) -> dict[str, Any]:
    """The values of all fields from which a search of the space starts: the default's, moved into it."""
    return moved(method(), space.domains[method.name])


def moved(config: MethodConfig, allowed: Mapping[str, Domain]) -> dict[str, Any]:
    """The values of all fields, those outside what is allowed replaced by the nearest inside."""
    return {
        name: value if _searches(allowed[name], value) else _nearest(allowed[name], value)
        for name, value in dataclasses.asdict(config).items()
    }


def _nearest(domain: Domain, value: Any) -> Any:
    if not isinstance(domain, Choice):
        return min(max(value, domain.low), domain.high)
    if isinstance(value, bool | str):
        return domain.options[0]
    return min(domain.options, key=lambda option: abs(float(option) - value))


def key_of(config: MethodConfig) -> tuple[object, ...]:
    """Equal for configurations that differ in nothing that counts."""
    return config.name, *sorted(config.values().items())


def countable(method: type[MethodConfig], allowed: Mapping[str, Domain]) -> list[str]:
    """The fields that can count while the others are inside what is allowed."""
    start, conditions = moved(method(), allowed), conditions_of(method)
    return [n for n in allowed if n not in conditions or can_hold(conditions[n], start, allowed)]
