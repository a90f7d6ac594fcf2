"""The choice: the cheapest of those that cannot be told from the best on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from selector.bootstrap import Classes, Predictions, Sample
from selector.comparison import Asked, Comparison
from selector.contenders import Compared, Contender, Finalist, cost
from selector.optimism import expected_drop
from selector.outlook import would_change
from selector.reason import reason
from selector.statistics import DRAWS, Interval, Tied, interval, tied_samples

__all__ = ["Contender", "Finalist", "Recommendation", "Scored", "recommend"]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A contender with its scores, test included."""

    contender: Compared
    validation: Interval
    test: Interval
    beyond_limits: bool = False
    """It was scored, but is larger or slower than the request allows."""

    def to_json(self) -> dict[str, Any]:
        """JSON values; `trial` is null for a baseline."""
        one = self.contender
        return {
            "trial": one.trial if isinstance(one, Finalist) else None,
            "method": one.method if isinstance(one, Finalist) else one.name,
            "config": dict(one.config),
            "search_validation": one.search_score if isinstance(one, Finalist) else None,
            "validation": asdict(self.validation),
            "test": asdict(self.test),
            "trainable_parameters": one.trainable_parameters,
            "stored_bytes": one.stored_bytes,
            "latency": None if one.latency is None else dict(one.latency),
            "beyond_limits": self.beyond_limits,
        }


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What to use, why, and what else there is."""

    choice: Scored
    reason: str
    would_change: tuple[str, ...]
    """What would change the choice, a sentence each."""
    expected_drop: float
    """What the highest validation score is expected to lose on new examples (`selector.optimism`)."""
    left_out: str
    """Why full fine-tuning was not compared; empty where it was."""
    tied: tuple[int, ...]
    """Trials that cannot be told from the best on validation, the chosen one included."""
    tied_baselines: tuple[str, ...]
    compared: tuple[Scored, ...]
    """All contenders, the best on validation first."""
    alternatives: tuple[tuple[str, Scored], ...]
    """(why, contender), each contender once."""

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the store keeps them and `--json` prints them."""
        eligible = [one for one in self.compared if not one.beyond_limits]
        return {
            **self.choice.to_json(),
            "reason": self.reason,
            "would_change": list(self.would_change),
            "winners_curse": {
                "contenders": len(eligible),
                "highest": eligible[0].validation.mean,
                "expected_drop": self.expected_drop,
            },
            "full_finetuning_left_out": self.left_out or None,
            "tied": list(self.tied),
            "tied_baselines": list(self.tied_baselines),
            "compared": [one.to_json() for one in self.compared],
            "alternatives": [{"why": why, **one.to_json()} for why, one in self.alternatives],
        }


def recommend(
    finalists: Sequence[Finalist],
    baselines: Sequence[Contender],
    *,
    validation_labels: Predictions,
    test_labels: Predictions,
    metric: str,
    classes: Classes,
    asked: Asked | None = None,
    left_out: str = "",
    seed: int = 0,
    beyond: Sequence[Compared] = (),
) -> Recommendation:
    """Choose by validation alone; the reason tells what was `asked`, and why full fine-tuning is `left_out`.

    Those `beyond` the limits are scored and shown, and never compared with the others.

    The best is the highest mean. Tied with it are all, finalists and baselines,
    whose paired difference is not significant at 5 % after Holm's correction.
    The cheapest of them is recommended (`contenders.cost`), so a baseline that
    no module beats significantly wins, and full fine-tuning only when it beats
    everyone; of equal costs the higher mean.

    Raises:
        ValueError: if there is nobody to choose from.
    """
    # The cheapest first, so that of equal means the cheapest counts as the best.
    ordered: list[Compared] = sorted([*finalists, *baselines], key=cost)
    predictions = [one.validation for one in ordered]
    samples = [Sample.of(metric, one, validation_labels, classes, DRAWS, seed) for one in predictions]
    tied = tied_samples(samples, seed=seed)
    chosen = _cheapest(ordered, tied)
    drop = expected_drop(metric, predictions, samples, tied.best, validation_labels, classes, seed=seed)
    comparison = Comparison(
        contenders=ordered,
        samples=samples,
        tied=tied,
        chosen=chosen,
        metric=metric,
        labels=validation_labels,
        classes=classes,
        seed=seed,
        drop=drop,
        asked=asked,
        left_out=left_out,
        beyond=beyond,
    )

    def scored(one: Compared) -> Scored:
        # The test split is looked at here for the first time: the choice stands.
        return Scored(
            contender=one,
            validation=interval(metric, one.validation, validation_labels, classes, seed=seed),
            test=interval(metric, one.test, test_labels, classes, seed=seed),
            beyond_limits=any(one is other for other in beyond),
        )

    by_score = sorted(range(len(ordered)), key=lambda one: (tied.differences[one].mean, one))
    every = {position: scored(ordered[position]) for position in by_score}
    shown = [*every.values(), *map(scored, beyond)]
    choice = every[chosen]
    members = [ordered[position] for position in sorted(tied.members)]
    return Recommendation(
        choice=choice,
        reason=reason(comparison, choice.validation),
        would_change=would_change(comparison, choice.validation),
        expected_drop=drop,
        left_out=left_out,
        tied=tuple(sorted(one.trial for one in members if isinstance(one, Finalist))),
        tied_baselines=tuple(one.name for one in members if isinstance(one, Contender)),
        compared=tuple(sorted(shown, key=lambda one: -one.validation.mean)),
        alternatives=tuple((why, every[one]) for one, why in _alternatives(ordered, tied, chosen).items()),
    )


def _cheapest(ordered: Sequence[Compared], tied: Tied) -> int:
    return min(tied.members, key=lambda one: (cost(ordered[one]), tied.differences[one].mean, one))


def _fastest(ordered: Sequence[Compared], trials: Sequence[int]) -> list[int]:
    """The module that takes least for one text, where latencies are known."""
    timed = {position: known["ratio"] for position in trials if (known := ordered[position].latency)}
    return [min(timed, key=lambda one: float(timed[one]))] if timed else []


def _alternatives(ordered: Sequence[Compared], tied: Tied, chosen: int) -> dict[int, str]:
    """Position -> why it is worth a look; the first reason counts."""
    trials = [position for position, one in enumerate(ordered) if isinstance(one, Finalist)]
    baselines = [position for position, one in enumerate(ordered) if isinstance(one, Contender)]

    def best_of(positions: Sequence[int]) -> list[int]:
        return sorted(positions, key=lambda one: (tied.differences[one].mean, one))[:1]

    found: dict[int, str] = {}
    for why, positions in (
        ("highest validation score", [tied.best]),
        ("best trained module", best_of(trials)),
        ("smallest module", trials[:1]),  # of the finalists, which stand in the order of their cost
        ("fastest module", _fastest(ordered, trials)),
        ("best baseline", best_of(baselines)),
    ):
        for position in positions:
            if position != chosen:
                found.setdefault(position, why)
    return found
