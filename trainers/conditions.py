"""Whether a conditional field can count at all, and with which values of other fields it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainers.domains import Choice, Domain, Value, When


def can_hold(condition: When, values: Mapping[str, Any], domains: Mapping[str, Domain]) -> bool:
    """Whether a condition holds for some values of the domains, the rest being `values`.

    Only what the condition reads is varied: one read value must differ where it does not hold. Of
    numbers only the ends are tried.
    """
    watched = _Watched(values)
    if condition.holds(watched):
        return True
    return any(
        can_hold(condition, {**values, name: option}, {**domains, name: Choice(option)})
        for name in sorted(watched.read)
        for option in _ends(domains[name])
        if option != values[name]
    )


def holding(
    condition: When, values: Mapping[str, Any], domains: Mapping[str, Domain]
) -> tuple[str, tuple[Value, ...]] | None:
    """The first field that decides alone, the rest being `values`, and those of its values that do.

    None where the condition holds always, never, or by several fields together.
    """
    for name, domain in domains.items():
        options = _ends(domain)
        held = tuple(option for option in options if condition.holds({**values, name: option}))
        if 0 < len(held) < len(options):
            return name, held
    return None


def _ends(domain: Domain) -> tuple[Value, ...]:
    return domain.options if isinstance(domain, Choice) else (domain.low, domain.high)


class _Watched(Mapping[str, Any]):
    """Values that remember which of them were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
