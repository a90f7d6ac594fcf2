"""What a sampler may aim at: one number of a trial each, and whether more or less of it is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from storage.records import Trial

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """One number of a trial that was trained to the end."""

    direction: Direction
    value: Callable[[Trial, str], float | None]
    """Trial, name of the study's metric -> value; None where it is not known."""


def _metric(trial: Trial, metric: str) -> float | None:
    return trial.reports[-1].metrics[metric] if trial.reports else None


OBJECTIVES: Mapping[str, Objective] = {
    "metric": Objective("maximize", _metric),
    "stored_bytes": Objective("minimize", lambda trial, metric: trial.stored_bytes),
    "trainable_parameters": Objective("minimize", lambda trial, metric: trial.trainable_parameters),
}
"""All that can be aimed at, by name; `metric` is the study's own, on validation."""


def directions(objectives: Sequence[str]) -> list[Direction]:
    """For each objective whether more or less is better.

    Raises:
        ValueError: for an unknown objective, or none.
    """
    unknown = [name for name in objectives if name not in OBJECTIVES]
    if unknown or not objectives:
        asked = f"objective {unknown[0]!r} is unknown" if unknown else "no objective is named"
        raise ValueError(f"{asked}; objectives: {', '.join(OBJECTIVES)}")
    return [OBJECTIVES[name].direction for name in objectives]


def values_of(trial: Trial, metric: str, objectives: Sequence[str]) -> list[float] | None:
    """A trial's value of each objective, or None where one of them is not known or not finite."""
    found = [OBJECTIVES[name].value(trial, metric) for name in objectives]
    values = [float(value) for value in found if value is not None and math.isfinite(value)]
    return values if len(values) == len(found) else None
