"""The trials of a study in order, and their learning curves: plain values for tables and charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from selector.full_finetuning import METHOD
from storage.records import State, Study, Trial

SHARED = ("layers", "learning_rate", "weight_decay", "warmup", "class_weights", "focal")
"""Fields that every method has. Not asked from `trainers`: a table must not wait for torch."""
USUAL = {"warmup": 0.06, "class_weights": "none"}
QUIET = (False, 0.0, "all", "unshifted", "real tokens")
FACTORS = ("b_rate", "scaling")
"""Usual values go unsaid, other fields' values that say that nothing is done, and factors of 1."""

ORDER = (State.COMPLETE, State.PRUNED, State.RUNNING, State.WAITING, State.FAIL)


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """What a finalist scored with fresh seeds."""

    mean: float
    """Mean validation score of the repeats."""
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial of the search, as a table shows it."""

    number: int
    method: str
    config: str
    """Such as "rank 8, alpha 16, learning_rate 1e-3"."""
    state: State
    epochs: float
    validation: float | None
    """The study's metric at the last rung; None before the first."""
    trainable_parameters: int | None
    stored_bytes: int | None
    seconds: float
    """Device seconds so far."""
    repeats: Repeats | None
    origin: str = ""
    """Who proposed it; empty where that was not kept."""
    latency: float | None = None
    """For one text, in units of the plain backbone; None where it was not measured."""
    training_bytes: int | None = None
    """Memory that training it alone takes beside the backbone; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class BaselineScore:
    """One baseline, by the study's metric."""

    name: str
    validation: float
    """Mean over its seeds."""
    test: float | None
    """None until the choice stands."""
    trainable_parameters: int
    stored_bytes: int
    seeds: int
    latency: Mapping[str, Any] | None
    """Of several that were measured the one in the middle."""


def device_seconds(study: Study) -> float:
    """Device time of a study: of all its trials, and of its baselines on the backbone."""
    baselines = sum(baseline.seconds for baseline in study.baselines if baseline.module_file is not None)
    return baselines + sum(trial.reports[-1].seconds for trial in study.trials if trial.reports)


def leaderboard(study: Study) -> list[Row]:
    """Trials of the search, the best first: whole trainings by score, then cut ones by how far they came."""
    metric = study.task["metric"]
    searched = [trial for trial in study.trials if trial.repeat_of is None]
    rows = [_row(trial, metric, study.trials) for trial in searched]
    return sorted(rows, key=_rank)


def baselines(study: Study) -> list[BaselineScore]:
    """What was trained beside the search; full fine-tuning last, as soon as one of its repeats is there."""
    metric = study.task["metric"]
    rows = [
        BaselineScore(
            name=one.name,
            validation=one.validation[metric],
            test=one.test.get(metric),
            trainable_parameters=one.trainable_parameters,
            stored_bytes=one.stored_bytes,
            seeds=1,
            latency=one.latency,
        )
        for one in study.baselines
    ]
    if METHOD in (study.spec.get("methods") or ()):
        return rows
    repeats = [t for t in _repeats(study.trials) if t.method == METHOD]
    return [*rows, _mean_of(repeats, metric)] if repeats else rows


def _mean_of(repeats: Sequence[Trial], metric: str) -> BaselineScore:
    tests = [trial.test[metric] for trial in repeats if trial.test is not None]
    return BaselineScore(
        name=METHOD,
        validation=fmean(trial.reports[-1].metrics[metric] for trial in repeats),
        test=fmean(tests) if tests else None,
        trainable_parameters=repeats[0].trainable_parameters or 0,
        stored_bytes=repeats[0].stored_bytes or 0,
        seeds=len(repeats),
        latency=middle_latency(repeats),
    )


def middle_latency(trials: Sequence[Trial]) -> Mapping[str, Any] | None:
    """Of the latencies that were measured with one configuration the one in the middle."""
    known = sorted((t.latency for t in trials if t.latency is not None), key=lambda one: float(one["ratio"]))
    return known[len(known) // 2] if known else None


def _repeats(trials: Sequence[Trial]) -> list[Trial]:
    return [t for t in trials if t.repeat_of is not None and t.state is State.COMPLETE and t.reports]


def curves(study: Study) -> dict[int, list[tuple[float, float]]]:
    """Number of a trial of the search -> its (epochs, validation score) at each rung."""
    metric = study.task["metric"]
    return {
        trial.number: [(report.epochs, report.metrics[metric]) for report in trial.reports]
        for trial in study.trials
        if trial.repeat_of is None
    }


def config_text(config: Mapping[str, Any]) -> str:
    """A configuration in one line: the method's own fields first, then those that all methods share."""
    said = [name for name, value in config.items() if not _goes_unsaid(name, value)]
    names = sorted(said, key=lambda name: name in SHARED)
    return ", ".join(f"{name} {value_text(config[name])}" for name in names)


def _goes_unsaid(name: str, value: Any) -> bool:
    if name in USUAL:
        return bool(value == USUAL[name])
    return value in QUIET or (name in FACTORS and value == 1)


def _row(trial: Trial, metric: str, trials: Sequence[Trial]) -> Row:
    repeats = [one for one in _repeats(trials) if one.repeat_of == trial.number]
    repeated = [one.reports[-1].metrics[metric] for one in repeats]
    timed = [one.latency["ratio"] for one in (trial, *repeats) if one.latency is not None]
    return Row(
        number=trial.number,
        method=trial.method,
        config=config_text(trial.config),
        state=trial.state,
        epochs=trial.epochs,
        validation=trial.reports[-1].metrics[metric] if trial.reports else None,
        trainable_parameters=trial.trainable_parameters,
        stored_bytes=trial.stored_bytes,
        seconds=trial.reports[-1].seconds if trial.reports else 0.0,
        repeats=Repeats(mean=fmean(repeated), seeds=len(repeated)) if repeated else None,
        origin=trial.origin or "",
        latency=median(timed) if timed else None,
        training_bytes=trial.training_bytes,
    )


def _rank(row: Row) -> tuple[float, ...]:
    score = -math.inf if row.validation is None or math.isnan(row.validation) else row.validation
    epochs = 0 if row.state is State.COMPLETE else row.epochs
    return ORDER.index(row.state), -epochs, -score, row.number


def value_text(value: Any) -> str:
    """A value of a configuration, such as yes, 8 or 3.2e-4."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if value and not 0.01 <= abs(value) < 10_000:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
