"""Who is compared for the recommendation: finalists and baselines, with their predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selector.bootstrap import Predictions
from selector.full_finetuning import METHOD
from selector.limits import Limits


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A trial that was repeated with fresh seeds."""

    trial: int
    """Number of the trial that was repeated."""
    method: str
    config: Mapping[str, Any]
    stored_bytes: int
    trainable_parameters: int
    latency: Mapping[str, Any] | None = None
    """`trainers.latency.Latency` as JSON; None where it was not measured."""
    validation: Predictions
    """`[seeds, rows, ...]`, as `Task.outcomes` gives them."""
    test: Predictions
    """`[seeds, rows, ...]`; looked at only after the choice."""
    curve: tuple[tuple[float, float], ...] = ()
    """(epochs, validation score) at each rung of the search; empty where the search cut it."""
    stopped: bool = False
    """Whether the search found it at its best before its last epoch."""
    at_edge: tuple[str, ...] = ()
    """Its numbers that lie at an end of the range that was searched, in words."""

    @property
    def whole(self) -> bool:
        """Whether it is full fine-tuning, which stores the whole backbone."""
        return self.method == METHOD

    @property
    def search_score(self) -> float | None:
        """The score with which the search chose it; None where it was cut before the end."""
        return self.curve[-1][1] if self.curve else None


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A baseline that the finalists have to beat."""

    name: str
    stored_bytes: int
    trainable_parameters: int
    validation: Predictions
    """`[1, rows, ...]`."""
    test: Predictions
    """`[1, rows, ...]`; looked at only after the choice."""
    config: Mapping[str, Any] = field(default_factory=dict)
    on_backbone: bool = False
    """Whether predicting needs the backbone, as the linear probe does."""
    latency: Mapping[str, Any] | None = None


Compared = Finalist | Contender


def cost(contender: Compared) -> tuple[int, int, float, int]:
    """What using a contender costs, to be compared field by field.

    First what must run: nothing but word counts, then the plain backbone, then
    the backbone with a trained module. Stored bytes say little beside that: they
    do not count the backbone. Then stored bytes; then the latency for one text, in tenths of the plain
    backbone's, since less is noise; then trained parameters.
    """
    runs = 2 if isinstance(contender, Finalist) else int(contender.on_backbone)
    latency = 0.0 if contender.latency is None else round(contender.latency["ratio"], 1)
    return runs, contender.stored_bytes, latency, contender.trainable_parameters


def within(contender: Compared, limits: Limits) -> bool:
    """Whether a contender may be recommended.

    What runs no backbone is within any limit on latency; what runs one must have been timed.
    """
    if limits.use(contender.trainable_parameters, contender.stored_bytes) > 1:
        return False
    if not limits.on_latency or (isinstance(contender, Contender) and not contender.on_backbone):
        return True
    return contender.latency is not None and not limits.too_slow(contender.latency)
