"""The part of one field's domain that a user leaves: one value, some values, or a range."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn

from selector.narrowing import left_in_words
from trainers.domains import Choice, Domain, Int, Value
from trainers.method import MethodConfig, domains


def part_of(method: type[MethodConfig], name: str, domain: Domain, given: Any) -> Domain:
    """The part of a domain that is asked for, or the domain itself where that is all of it.

    Raises:
        ValueError: saying what was given, what the field allows, and what to do.
    """
    if isinstance(given, Mapping):
        return _range(method, name, domain, given)
    if given == [] or given == ():
        _refuse(method, name, domain, given, "is an empty list", "name at least one value")
    several = given if isinstance(given, list | tuple) else [given]
    values = dict.fromkeys(_value(method, name, domain, one) for one in several)
    same = isinstance(domain, Choice) and set(domain.options) == set(values)
    return domain if same else Choice(*values)


def _value(method: type[MethodConfig], name: str, domain: Domain, given: Any) -> Value:
    found = _read(domain, given)
    if found is None:
        _refuse(method, name, domain, given, "is not possible", "choose a value that is")
    return found


def _read(domain: Domain, given: Any) -> Value | None:
    """A value of the domain that was given as TOML or JSON would hold it; None where it is none."""
    if not isinstance(domain, Choice):
        if not domain.contains(given):
            return None
        return int(given) if isinstance(domain, Int) else float(given)
    for option in domain.options:
        if option == given and isinstance(option, bool) == isinstance(given, bool):
            return option
    # Layer 2 is the text "2", however it was written.
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    return text if isinstance(text, str) and domain.contains(text) else None


def _range(method: type[MethodConfig], name: str, domain: Domain, given: Mapping[str, Any]) -> Domain:
    if isinstance(domain, Choice):
        _refuse(method, name, domain, given, "is not possible", "list the values to try")
    if given.keys() != {"low", "high"}:
        forms = "one value, a list of values, or {low = ..., high = ...}"
        _refuse(method, name, domain, repr(given), "is not understood", f"give {forms}")
    low, high = _read(domain, given["low"]), _read(domain, given["high"])
    if low is None or high is None:
        _refuse(method, name, domain, given, "is not possible", "choose a range inside it")
    if low > high:  # type: ignore[operator]
        _refuse(method, name, domain, given, "is an empty range", "write the smaller number first")
    return Choice(low) if low == high else dataclasses.replace(domain, low=low, high=high)  # type: ignore[arg-type]


def _refuse(
    method: type[MethodConfig], name: str, domain: Domain, given: Any, fault: str, advice: str
) -> NoReturn:
    where = "" if domain == domains(method)[name] else " on this backbone"
    raise ValueError(
        f"{method.name}.{name} {left_in_words(given)} {fault}: it must be {domain}{where}; {advice}"
    )
