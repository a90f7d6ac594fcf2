"""Who is compared for the recommendation: finalists and baselines, with their predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selector.statistics import Predictions


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A finalist with the predictions of its repeats, or a baseline."""

    trial: int | None
    """Number of the trial that was repeated; None for a baseline."""
    method: str
    """Method of the trial, or name of the baseline."""
    config: Mapping[str, Any]
    trainable_parameters: int
    stored_bytes: int
    validation: Predictions
    """Class indices `[seeds, rows]`."""
    test: Predictions
    """Class indices `[seeds, rows]`; looked at only after the choice."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The truth of both splits, as class indices `[rows]`."""

    validation: Predictions
    test: Predictions
