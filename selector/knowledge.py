"""What a sampler knows when it is asked for configurations: trials of the search, in the space as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from selector.objectives import values_of
from selector.space import Space
from storage.records import State, Trial
from trainers.method import MethodConfig


@dataclass(frozen=True)
class Known:
    """A trial and its configuration."""

    trial: Trial
    config: MethodConfig


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """All that a sampler may use; the same knowledge gives the same proposals."""

    known: Sequence[Known]
    """Trials of the search that lie in the space, finished or not; without those that failed for other
    reasons than divergence."""
    beside: Sequence[MethodConfig]
    """What the same round proposes already; nothing is known of it yet."""
    space: Space
    metric: str
    objectives: Sequence[str]
    seed: int

    def whole(self) -> list[tuple[Known, list[float]]]:
        """Those trained to the end, each with its values of the objectives: the only measured ones."""
        found = []
        for one in self.known:
            values = measured(one.trial, self.metric, self.objectives)
            if one.trial.state is State.COMPLETE and values is not None:
                found.append((one, values))
        return found

    def waiting(self) -> list[MethodConfig]:
        """Configurations of which nothing is known yet."""
        begun = [k.config for k in self.known if k.trial.state in (State.RUNNING, State.WAITING)]
        return [*begun, *self.beside]

    def last_score(self, trial: Trial) -> float:
        """The metric at a trial's last rung, whichever that was; NaN where there is none."""
        return trial.reports[-1].metrics[self.metric] if trial.reports else math.nan


Sampler = Callable[[Knowledge], Iterator[MethodConfig]]
"""Proposes without end; what was tried already may come again and is passed over."""


def measured(trial: Trial, metric: str, objectives: Sequence[str]) -> list[float] | None:
    """A trial's value of each objective, or None where one of them is not known or not finite."""
    values = list(values_of(trial, objectives, metric))
    return values if all(map(math.isfinite, values)) else None


def diverged(trial: Trial) -> bool:
    """Whether a trial failed because its loss did not stay finite."""
    failed = trial.state is State.FAIL and bool(trial.reports)
    return failed and not math.isfinite(trial.reports[-1].train_loss)
