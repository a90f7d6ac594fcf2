"""Wall-clock: when the search must make way for its finalists, and how many of those can be paid."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SEARCH_SHARE = 0.6
"""Share of a budget that the search may use. Five finalists with three seeds cost more than sixteen halved
trials, but a third seed gives way more lightly than a configuration."""


@dataclass(frozen=True)
class Clock:
    """The time a study may take."""

    budget_seconds: float | None
    started: float = field(default_factory=time.time)
    now: Callable[[], float] = time.time

    @property
    def seconds(self) -> float:
        """Wall-clock used so far."""
        return self.now() - self.started

    @property
    def search_deadline(self) -> float | None:
        """Time after which no search rung is started; None: no limit."""
        return None if self.budget_seconds is None else self.started + SEARCH_SHARE * self.budget_seconds

    @property
    def searching(self) -> bool:
        """Whether new configurations may still be proposed."""
        return self.search_deadline is None or self.now() < self.search_deadline

    @property
    def remaining(self) -> float:
        """Seconds left; infinite without a budget."""
        return math.inf if self.budget_seconds is None else self.budget_seconds - self.seconds


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
