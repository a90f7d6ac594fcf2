"""Which trials are repeated with fresh seeds, and with how many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selector.budget import affordable_repeats
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


@dataclass(frozen=True, kw_only=True)
class Finals:
    """What the time that is left pays for."""

    finalists: tuple[Trial, ...]
    seeds: int
    """Fresh seeds of each finalist."""
    full: Trial | None
    """The best learning rate of full fine-tuning; None where that is left out, or a finalist itself."""
    full_seeds: int
    """So many of the finalists' seeds full fine-tuning gets, too."""
    left_out: str
    """Why full fine-tuning is left out although it was tried; empty where it is not."""


def plan_finals(
    finalists: Sequence[Trial],
    full: Trial | None,
    *,
    seeds: int,
    seconds: Callable[[Trial], float],
    slots: int,
    remaining: float,
) -> Finals:
    """The finalists come first (`affordable_repeats`); full fine-tuning gets the seeds that time is left for.

    It is left out when not even one training of it fits. `seconds` predicts those of one repeat of a trial,
    and `remaining` is by the clock (`Ledger.repeat_seconds`, `Ledger.remaining`).
    """
    count, spent = 0, 0.0
    if finalists:
        each = max(map(seconds, finalists))
        count, seeds = affordable_repeats(
            len(finalists), seeds, training_seconds=each, slots=slots, remaining=remaining
        )
        spent = count * seeds * each
    chosen = tuple(finalists[:count])
    if full is None:
        return Finals(finalists=chosen, seeds=seeds, full=None, full_seeds=0, left_out="")
    one = seconds(full)
    fits = seeds if math.isinf(remaining) or not one else int((remaining * slots - spent) // one)
    if fits >= 1 and one <= remaining:
        return Finals(finalists=chosen, seeds=seeds, full=full, full_seeds=min(seeds, fits), left_out="")
    why = f"one training of it takes about {one:.0f} s, which the budget does not hold beside the finalists"
    return Finals(finalists=chosen, seeds=seeds, full=None, full_seeds=0, left_out=why)
