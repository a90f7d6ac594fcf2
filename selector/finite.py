"""The configurations of a space one by one, where there is no real number left to search."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from selector.space import Space, countable, key_of, start_of
from trainers.domains import Choice, Domain, Float, Value
from trainers.method import MethodConfig, conditions_of


def is_finite(method: type[MethodConfig], space: Space) -> bool:
    """Whether a method has so few values left that each of its configurations can be told."""
    allowed = space.domains[method.name]
    return not any(isinstance(allowed[name], Float) for name in countable(method, allowed))


def configurations(method: type[MethodConfig], space: Space) -> Iterator[MethodConfig]:
    """All that differ in something that counts, of a method that is finite; the last field turns fastest."""
    conditions, allowed = conditions_of(method), space.domains[method.name]

    def below(names: list[str], values: dict[str, Value]) -> Iterator[MethodConfig]:
        if not names:
            yield method.from_values(values)
            return
        name, rest = names[0], names[1:]
        counts = name not in conditions or conditions[name].holds(values)
        for value in _values(allowed[name]) if counts else (values[name],):
            yield from below(rest, {**values, name: value})

    return below(list(allowed), start_of(method, space))


def _values(domain: Domain) -> Collection[Value]:
    if isinstance(domain, Choice):
        return domain.options
    assert not isinstance(domain, Float), "real numbers cannot be told one by one"
    return range(domain.low, domain.high + 1)


def is_used_up(method: type[MethodConfig], space: Space, tried: Collection[tuple[object, ...]]) -> bool:
    """Whether every configuration of a method is among those tried."""
    return is_finite(method, space) and all(
        key_of(config) in tried for config in configurations(method, space)
    )


def fewer_than(count: int, space: Space) -> int | None:
    """How many configurations a space holds if those are fewer than `count`, else None."""
    held = 0
    for method in space.methods:
        if not is_finite(method, space):
            return None
        held += sum(1 for _ in islice(configurations(method, space), count - held))
        if held >= count:
            return None
    return held
