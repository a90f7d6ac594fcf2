"""A search space with what a user leaves of it; an impossible wish is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selector.narrowing import ALL, Narrowing, left_in_words
from selector.part import part_of
from selector.space import Space, choose_methods, countable, space_of, start_of
from trainers.bridge import BridgedConfig
from trainers.conditions import holding
from trainers.domains import Choice, Domain
from trainers.method import MethodConfig, conditions_of, domains, on_layers
from trainers.naming import method_named
from trainers.sites import Site
from trainers.task import Task


def searched_space(
    names: Sequence[str] | None, narrowing: Narrowing, sites: Sequence[Site], task: Task | None = None
) -> tuple[Space, list[str]]:
    """What is left of some methods' space (None: the usual ones), and why methods are left out.

    Without sites every method is taken to run, as no backbone is known; without a task every kind is allowed.

    Raises:
        ValueError: for a method or a narrowing that is not possible.
    """
    methods, reasons = choose_methods(names, sites)
    if not methods:
        return space_of([]), reasons
    tables: dict[str, dict[str, Any]] = {}
    for name, fields in narrowing.items():
        tables.setdefault(_method_of(name, methods, reasons), {}).update(fields)
    return narrowed(space_of(methods, sites, task), tables, sites), reasons


def _method_of(name: str, methods: Sequence[type[MethodConfig]], reasons: Sequence[str]) -> str:
    """The method's own spelling of its name, if it is searched."""
    if name == ALL:
        return name
    try:
        found = method_named(name).name
    except ValueError as error:
        raise ValueError(f"what is left of {name!r} was given, but {error}") from None
    searched = [method.name for method in methods]
    if found not in searched:
        lacking = next((reason for reason in reasons if reason.startswith(f"{found} ")), "")
        why, way = (f"; {lacking}", "") if lacking else (" here", f"name {found} in --methods, or ")
        raise ValueError(
            f"fields of {found} are narrowed, but it is not searched{why}; {way}leave its fields out "
            f"(searched: {', '.join(searched)})"
        )
    return found


def narrowed(space: Space, narrowing: Narrowing, sites: Sequence[Site] = ()) -> Space:
    """The part of a space that a narrowing leaves; a method's own table counts before `all`.

    Raises:
        ValueError: for an unknown field, a value or range that the field does not allow, an empty
            range, a field that then never counts, or layers and places that the backbone lacks.
    """
    _check_names(space, narrowing)
    parts = {m.name: {**space.domains[m.name], **_parts(m, space, narrowing)} for m in space.methods}
    found = Space(space.methods, parts)
    for method in space.methods:
        changed = {n: d for n, d in parts[method.name].items() if d != space.domains[method.name][n]}
        # A field that is narrowed in all methods need not count in each of them.
        _check_counts(method, [name for name in changed if name in narrowing.get(method.name, {})], found)
        if sites:
            _check_places(method, changed, found, sites)
    return found


def _check_names(space: Space, narrowing: Narrowing) -> None:
    every = dict.fromkeys(field for method in space.methods for field in space.domains[method.name])
    for method in (ALL, *(one.name for one in space.methods)):
        known, owner = (every, "no searched method") if method == ALL else (space.domains[method], method)
        for name in narrowing.get(method, {}):
            if name not in known:
                has = "has a field" if method == ALL else "has no field"
                raise ValueError(f"{owner} {has} {name!r}; possible fields: {', '.join(known)}")


def _parts(method: type[MethodConfig], space: Space, narrowing: Narrowing) -> dict[str, Domain]:
    known, own = space.domains[method.name], narrowing.get(method.name, {})
    found = {}
    for name, given in {**narrowing.get(ALL, {}), **own}.items():
        try:
            if name in known:
                found[name] = part_of(method, name, known[name], given)
        except ValueError as error:
            hint = "" if name in own else "; or narrow the field of some methods only, as lora.rank is"
            raise ValueError(f"{error}{hint}") from None
    return found


# ------------------------------------------------------------------------------ what is left


def _check_counts(method: type[MethodConfig], names: Sequence[str], space: Space) -> None:
    counting = countable(method, space.domains[method.name])
    for name in names:
        if name not in counting:
            other = holding(conditions_of(method)[name], start_of(method, space), domains(method))
            why = "never counts with what is left of the other fields"
            if other is not None:
                why = f"counts only with {other[0]} {left_in_words(other[1])}, and that is not searched here"
            raise ValueError(
                f"{method.name}.{name} is narrowed, but it {why}; leave it out, or allow that it counts"
            )


def _check_places(
    method: type[MethodConfig], changed: Mapping[str, Domain], space: Space, sites: Sequence[Site]
) -> None:
    """Every value that was named must leave the method a place on the backbone."""
    start = start_of(method, space)
    named = [
        (n, one) for n, domain in changed.items() if isinstance(domain, Choice) for one in domain.options
    ]
    for name, value in named:
        config = method.from_values({**start, name: value})
        shown = f"{method.name}.{name} {left_in_words(value)}"
        try:
            on_layers(sites, config.layers)
            placed = issubclass(method, BridgedConfig) or config.placed(sites)
        except ValueError as error:
            raise ValueError(f"{shown} is not possible: {error}; choose a value that is") from None
        if not placed:
            raise ValueError(
                f"{shown} leaves {method.name} no place on this backbone; choose other values, or leave the "
                f"method out of --methods"
            )
