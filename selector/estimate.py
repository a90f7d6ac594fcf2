"""What a study will cost and when it will end, from the pace that was measured so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from selector.budget import SEARCH_SHARE
from selector.full_finetuning import LEARNING_RATES, attempts, is_baseline, untried
from selector.halving import KEPT_LEAST, ONE_IN, plan
from selector.ledger import Ledger
from selector.study import StudySpec
from storage.records import State, Trial


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is still to come, at the pace that was measured."""

    device_seconds: float
    """Of the whole study, what was used included."""
    seconds: float
    """By the clock, from now."""
    ends: float
    """Seconds since the epoch."""

    def __str__(self) -> str:
        return (
            f"about {_duration(self.seconds)} left (until {datetime.fromtimestamp(self.ends):%H:%M}), "
            f"{_duration(self.device_seconds)} of device time in all"
        )


def estimate(
    ledger: Ledger,
    trials: Mapping[int, Trial],
    *,
    methods: int,
    slots: int,
    searching: bool,
    full: bool = False,
) -> Estimate | None:
    """The estimate at this moment; None before any pace is known. Budgets bound it.

    So many `methods` are searched: the first cut of a bracket keeps the best of each. Once the search is
    over, `searching` is false and the repeats are counted. `full` says whether full fine-tuning is trained
    beside them. Reading and the other baselines are not in it.
    """
    pace, alone, whole = ledger.paces()
    if pace is None or alone is None or whole is None:
        return None
    spec = ledger.spec
    modules = [trial for trial in trials.values() if not is_baseline(trial, spec.methods)]
    others = [trial for trial in trials.values() if is_baseline(trial, spec.methods)]
    search = _search_epochs(spec, modules, methods, ledger.parts) * pace if searching else 0.0
    finals = _final_epochs(spec, modules, min(spec.finalists, spec.trials)) * alone
    if full:
        search += _rate_epochs(spec, others, ledger.parts) * whole if searching else 0.0
        finals += _final_epochs(spec, others, 1) * whole
    used = ledger.device_seconds
    device = math.inf if spec.device_seconds is None else spec.device_seconds - used
    budget = math.inf if spec.budget_seconds is None else spec.budget_seconds
    # What the search must leave to the finalists it cannot use, however many configurations are asked for.
    search = min(search, max(0.0, SEARCH_SHARE * (device + used) - used))
    clock = ledger.clock
    search_left = min(search / slots, max(0.0, SEARCH_SHARE * budget - clock.seconds))
    left = max(0.0, min(search_left + finals / slots, clock.remaining, device / slots))
    return Estimate(
        device_seconds=used + min(search + finals, left * slots), seconds=left, ends=clock.now() + left
    )


def _search_epochs(spec: StudySpec, trials: Iterable[Trial], methods: int, parts: int) -> float:
    """Candidate-epochs that the search has still to train."""
    searched = [trial for trial in trials if trial.repeat_of is None]
    begun: dict[int | None, list[Trial]] = {}
    for trial in searched:
        begun.setdefault(trial.bracket, []).append(trial)
    left = 0.0
    for turn, group in enumerate(begun.values()):
        if any(trial.state in (State.RUNNING, State.WAITING) for trial in group):
            rungs = plan(spec.epochs, spec.bracket_size, spec.early_exit, turn, parts=parts).rungs
            expected = bracket_epochs(len(group), len({trial.method for trial in group}), rungs)
            left += max(0.0, expected - sum(trial.epochs for trial in group))
    tried = sum(trial.state is not State.FAIL or bool(trial.reports) for trial in searched)
    coming, turn = max(0, spec.trials - tried), len(begun)
    while coming > 0:
        next_one = plan(spec.epochs, spec.bracket_size, spec.early_exit, turn, parts=parts)
        size = min(coming, next_one.size)
        left += bracket_epochs(size, _different(size, methods), next_one.rungs)
        coming, turn = coming - size, turn + 1
    return left


def _different(size: int, methods: int) -> float:
    """How many methods `size` configurations are expected to have, each drawn from `methods` at random."""
    return methods * (1 - (1 - 1 / methods) ** size) if methods else 1.0


def bracket_epochs(size: int, methods: float, rungs: tuple[float, ...]) -> float:
    """Candidate-epochs of a bracket that is cut as `halving.keep` does."""
    alive, done, total = float(size), 0.0, 0.0
    for rung, epochs in enumerate(rungs):
        total += alive * (epochs - done)
        places = max(KEPT_LEAST, math.ceil(alive / ONE_IN))
        alive, done = min(alive, max(places, methods) if rung == 0 else places), epochs
    return total


def _rate_epochs(spec: StudySpec, trials: Sequence[Trial], parts: int) -> float:
    """Epochs that full fine-tuning's learning rates are still to be trained; one goes on after a cut."""
    tried = attempts(trials)
    if not untried(trials) and not any(t.state in (State.RUNNING, State.WAITING) for t in tried):
        return 0.0
    rungs = plan(spec.epochs, len(LEARNING_RATES), spec.early_exit, parts=parts).rungs
    expected = len(LEARNING_RATES) * rungs[0] + rungs[-1] - rungs[0]
    return max(0.0, expected - sum(trial.epochs for trial in tried))


def _final_epochs(spec: StudySpec, trials: Iterable[Trial], finalists: int) -> float:
    repeats = [trial for trial in trials if trial.repeat_of is not None]
    ended = [trial for trial in repeats if trial.state not in (State.RUNNING, State.WAITING)]
    asked = len(repeats) or finalists * spec.seeds
    return float(spec.epochs * max(0, asked - len(ended)))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
