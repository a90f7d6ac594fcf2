"""The choice: the cheapest of those that cannot be told from the best on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from selector.contenders import Contender, Labels
from selector.reason import Compared, reason
from selector.statistics import Interval, Tied, interval, tied_set


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A contender with its scores, test included."""

    contender: Contender
    validation: Interval
    test: Interval

    def to_json(self) -> dict[str, Any]:
        """JSON values; `trial` is null for a baseline."""
        return {
            "trial": self.contender.trial,
            "method": self.contender.method,
            "config": dict(self.contender.config),
            "validation": asdict(self.validation),
            "test": asdict(self.test),
            "trainable_parameters": self.contender.trainable_parameters,
            "stored_bytes": self.contender.stored_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What to use, why, and what else there is."""

    choice: Scored
    reason: str
    tied: tuple[int, ...]
    """Trials that cannot be told from the best on validation, the chosen one included."""
    tied_baselines: tuple[str, ...]
    alternatives: tuple[tuple[str, Scored], ...]
    """(why, contender), each contender once."""

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the store keeps them and `--json` prints them."""
        return {
            **self.choice.to_json(),
            "reason": self.reason,
            "tied": list(self.tied),
            "tied_baselines": list(self.tied_baselines),
            "alternatives": [{"why": why, **one.to_json()} for why, one in self.alternatives],
        }


def recommend(
    contenders: Sequence[Contender],
    labels: Labels,
    metric: str,
    classes: int,
    *,
    tried: int,
    seed: int = 0,
) -> Recommendation:
    """Choose by validation alone; `tried` configurations were searched to find the finalists.

    The best is the highest mean. Tied with it are all, finalists and baselines,
    whose paired difference is not significant at 5 % after Holm's correction.
    The cheapest of them is recommended: by stored bytes, then trainable
    parameters, then the higher mean.

    Raises:
        ValueError: without contenders.
    """
    ordered = sorted(contenders, key=_cost)  # so that of equal means the cheapest counts as the best
    tied = tied_set(metric, [one.validation for one in ordered], labels.validation, classes, seed=seed)
    chosen = _cheapest(ordered, tied)

    def scored(position: int) -> Scored:
        # The test split is looked at here, when the choice stands.
        one = ordered[position]
        return Scored(
            contender=one,
            validation=interval(metric, one.validation, labels.validation, classes, seed=seed),
            test=interval(metric, one.test, labels.test, classes, seed=seed),
        )

    choice = scored(chosen)
    compared = Compared(ordered, tied, chosen, metric, labels.validation, classes, tried, seed)
    members = [ordered[position] for position in sorted(tied.members)]
    return Recommendation(
        choice=choice,
        reason=reason(compared, choice.validation),
        tied=tuple(sorted(one.trial for one in members if one.trial is not None)),
        tied_baselines=tuple(one.method for one in members if one.trial is None),
        alternatives=tuple((why, scored(one)) for one, why in _alternatives(ordered, tied, chosen).items()),
    )


def _cost(contender: Contender) -> tuple[int, int]:
    return contender.stored_bytes, contender.trainable_parameters


def _cheapest(ordered: Sequence[Contender], tied: Tied) -> int:
    return min(tied.members, key=lambda one: (_cost(ordered[one]), tied.differences[one].mean, one))


def _alternatives(ordered: Sequence[Contender], tied: Tied, chosen: int) -> dict[int, str]:
    """Position -> why it is worth a look; the first reason counts."""
    trials = [position for position, one in enumerate(ordered) if one.trial is not None]
    baselines = [position for position, one in enumerate(ordered) if one.trial is None]

    def best_of(positions: Sequence[int]) -> list[int]:
        return sorted(positions, key=lambda one: (tied.differences[one].mean, one))[:1]

    found: dict[int, str] = {}
    for why, positions in (
        ("highest validation score", [tied.best]),
        ("best trained module", best_of(trials)),
        ("smallest module", trials[:1]),
        ("best baseline", best_of(baselines)),
    ):
        for position in positions:
            if position != chosen:
                found.setdefault(position, why)
    return found
