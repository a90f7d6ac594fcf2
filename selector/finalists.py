"""Which trials are worth repeating with fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from storage.records import State, Trial


def choose_finalists(trials: Sequence[Trial], metric: str, count: int) -> list[Trial]:
    """The best trials, spread over methods: first the best of each method, then the rest.

    Whole trainings come before cut ones, which only count when nothing was
    trained to the end. Trials without a finite score are never chosen. The
    validation loss decides between equal scores, then the size.
    """
    scored = [t for t in trials if t.reports and math.isfinite(t.reports[-1].metrics[metric])]
    complete = [t for t in scored if t.state is State.COMPLETE]
    pool = complete or [t for t in scored if t.state is State.PRUNED]
    ranked = sorted(pool, key=lambda t: _rank(t, metric))
    best_of_method = list({t.method: t for t in reversed(ranked)}.values())
    first = [t for t in ranked if t in best_of_method]
    return (first + [t for t in ranked if t not in first])[:count]


def _rank(trial: Trial, metric: str) -> tuple[float, ...]:
    last = trial.reports[-1]
    loss = last.metrics.get("loss", math.inf)
    # A whole training that stopped early counts as much as a longer one.
    epochs = 0 if trial.state is State.COMPLETE else trial.epochs
    return -epochs, -last.metrics[metric], loss, trial.stored_bytes or 0, trial.number
