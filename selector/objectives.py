"""What a search is after: the metric, and what a module costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from selector.pareto import hypervolume, ranks
from storage.records import State, Study, Trial

METRIC = "metric"
COSTS = ("parameters", "bytes", "latency", "seconds", "memory")
"""Smaller is better: trained numbers, stored bytes, latency in units of the plain backbone, device seconds of
training, and the bytes that training a candidate alone takes beside the frozen backbone."""
OBJECTIVES = (METRIC, *COSTS)
BEST_METRIC = 1.0
"""No metric of ours goes higher."""
MARGIN = 1.1
"""The reference point lies so far behind the largest cost, so that the trial that has it counts, too."""


def check_objectives(names: Sequence[str]) -> None:
    """Refuse objectives that cannot be searched for together.

    Raises:
        ValueError: naming those that there are.
    """
    possible = f"name metric, alone or with one or two of {', '.join(COSTS)}"
    unknown = [name for name in names if name not in OBJECTIVES]
    if unknown:
        raise ValueError(f"objective {unknown[0]!r} is unknown; {possible}")
    if METRIC not in names or len(names) > 3 or len(set(names)) < len(names):
        raise ValueError(f"objectives are {', '.join(names) or 'empty'}; {possible}")


def costs_of(
    objectives: Sequence[str],
    *,
    parameters: int | None,
    stored_bytes: int | None,
    latency: Mapping[str, Any] | None,
    seconds: float,
    training_bytes: int | None,
) -> tuple[float, ...]:
    """What each objective but the metric is for a module; infinite where it is not known."""
    known = {
        "parameters": math.inf if parameters is None else float(parameters),
        "bytes": math.inf if stored_bytes is None else float(stored_bytes),
        "latency": math.inf if latency is None else float(latency["ratio"]),
        "seconds": seconds,
        "memory": math.inf if training_bytes is None else float(training_bytes),
    }
    return tuple(known[name] for name in objectives if name != METRIC)


def values_of(trial: Trial, objectives: Sequence[str], metric: str) -> tuple[float, ...]:
    """A trial's objectives in their order, at its last rung; `directions` says which are better when larger.

    What was not measured is NaN for the metric and infinite for a cost.
    """
    last = trial.reports[-1] if trial.reports else None
    costs = costs_of(
        objectives,
        parameters=trial.trainable_parameters,
        stored_bytes=trial.stored_bytes,
        latency=trial.latency,
        seconds=math.inf if last is None else last.seconds,
        training_bytes=trial.training_bytes,
    )
    found = dict(zip([name for name in objectives if name != METRIC], costs, strict=True))
    score = math.nan if last is None else last.metrics[metric]
    return tuple(score if name == METRIC else found[name] for name in objectives)


def directions(objectives: Sequence[str]) -> list[Literal["maximize", "minimize"]]:
    """`maximize` for the metric, `minimize` for all costs: Optuna's words."""
    return ["maximize" if name == METRIC else "minimize" for name in objectives]


@dataclass(frozen=True, kw_only=True)
class Front:
    """What a study with several objectives found."""

    objectives: tuple[str, ...]
    trials: tuple[int, ...]
    """Numbers of the trials that no other beats, the highest metric first."""
    values: tuple[tuple[float, ...], ...]
    """Of each of them, in the order of the objectives."""
    hypervolume: float
    """Share of the box between the reference and perfection that the front dominates."""
    reference: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def front_of(study: Study, objectives: Sequence[str]) -> Front:
    """The Pareto front of the trials of the search that were trained to the end.

    The reference point is the score of the first baseline (one answer for all; 0 where that is less or no
    number) and 1.1 times the largest cost among these trials. The hypervolume is a share of the box between
    it and a metric of 1 at no cost.
    """
    metric = study.task["metric"]
    whole = [trial for trial in study.trials if trial.repeat_of is None and trial.state is State.COMPLETE]
    known = {trial.number: values_of(trial, objectives, metric) for trial in whole}
    found = {number: values for number, values in known.items() if all(map(math.isfinite, values))}
    baseline = next((baseline.validation[metric] for baseline in study.baselines), 0.0)
    largest = [max((values[i] for values in found.values()), default=0.0) for i in range(len(objectives))]
    reference = tuple(
        (baseline if 0 < baseline < BEST_METRIC else 0.0) if name == METRIC else (MARGIN * most or 1.0)
        for name, most in zip(objectives, largest, strict=True)
    )
    # From perfection (0) to the reference (1) on every axis; smaller is better.
    scaled = {
        number: [
            (BEST_METRIC - value) / (BEST_METRIC - end) if name == METRIC else value / end
            for name, value, end in zip(objectives, values, reference, strict=True)
        ]
        for number, values in found.items()
    }
    rank = dict(zip(scaled, ranks(list(scaled.values())), strict=True))
    place = objectives.index(METRIC)
    front = sorted((n for n in found if rank[n] == 0), key=lambda n: (-found[n][place], n))
    return Front(
        objectives=tuple(objectives),
        trials=tuple(front),
        values=tuple(found[number] for number in front),
        hypervolume=hypervolume([scaled[number] for number in front], [1.0] * len(objectives)),
        reference=reference,
    )
