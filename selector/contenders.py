"""Who is compared for the recommendation: finalists and baselines, with their predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selector.bootstrap import Predictions


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A trial that was repeated with fresh seeds."""

    trial: int
    """Number of the trial that was repeated."""
    method: str
    config: Mapping[str, Any]
    stored_bytes: int
    trainable_parameters: int
    validation: Predictions
    """Class indices `[seeds, rows]`."""
    test: Predictions
    """Class indices `[seeds, rows]`; looked at only after the choice."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A baseline that the finalists have to beat."""

    name: str
    stored_bytes: int
    trainable_parameters: int
    validation: Predictions
    """Class indices `[1, rows]`."""
    test: Predictions
    """Class indices `[1, rows]`; looked at only after the choice."""
    config: Mapping[str, Any] = field(default_factory=dict)


Compared = Finalist | Contender
