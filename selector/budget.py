"""Wall-clock: when the search must make way for its finalists, and how many of those can be paid."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.records import Trial

SEARCH_SHARE = 0.6
"""Share of a budget that the search may use. Five finalists with three seeds cost more than sixteen halved
trials, but a third seed gives way more lightly than a configuration."""


@dataclass(frozen=True)
class Clock:
    """The time a study may take."""

    budget_seconds: float | None
    started: float = field(default_factory=time.time)

    @property
    def seconds(self) -> float:
        """Wall-clock used so far."""
        return time.time() - self.started

    @property
    def search_deadline(self) -> float | None:
        """Time after which no search rung is started; None: no limit."""
        return None if self.budget_seconds is None else self.started + SEARCH_SHARE * self.budget_seconds

    @property
    def searching(self) -> bool:
        """Whether new configurations may still be proposed."""
        return self.search_deadline is None or time.time() < self.search_deadline

    @property
    def search_seconds(self) -> float:
        """Seconds until no search rung is started any more; infinite without a budget."""
        return math.inf if self.search_deadline is None else self.search_deadline - time.time()

    @property
    def halfway(self) -> bool:
        """Whether half of the budget is used; never without one."""
        return self.budget_seconds is not None and self.seconds > self.budget_seconds / 2

    @property
    def remaining(self) -> float:
        """Seconds left; infinite without a budget."""
        return math.inf if self.budget_seconds is None else self.budget_seconds - self.seconds


def whole_training(trials: Sequence[Trial], epochs: int) -> float:
    """Seconds of one whole training: of the dearest trial, scaled up from what it has used."""
    return max(trial.reports[-1].seconds * epochs / trial.epochs for trial in trials)


def affordable_repeats(
    finalists: int, seeds: int, *, training_seconds: float, slots: int, remaining: float
) -> tuple[int, int]:
    """`(finalists, seeds)` that fit into the remaining time: seeds give way first, one of each stays.

    `training_seconds` is the time of one whole training, of which `slots` run side by side.
    """
    trainings = math.inf if training_seconds <= 0 else remaining * slots / training_seconds
    while seeds > 1 and finalists * seeds > trainings:
        seeds -= 1
    while finalists > 1 and finalists * seeds > trainings:
        finalists -= 1
    return finalists, seeds
