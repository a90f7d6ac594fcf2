"""What a study has spent, how fast it trains, and what it can still pay for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from selector.allowance import Allowance
from selector.budget import SEARCH_SHARE, Clock
from selector.full_finetuning import COST, METHOD, is_baseline
from selector.halving import plan
from selector.jobs import Bracket, Calibration
from selector.study import StudySpec
from storage.records import Trial

RESERVE = 1.25
"""The search leaves the time of so many whole trainings: one repeat of one finalist, and room for error."""
FINALS_SHARE = 0.2
"""At least so much of a budget, too: the longer it is, the further off a prediction may be."""
LEAST_BRACKET = 4
"""A bracket is made as small as this for its first rung to end in time; smaller only if it must."""


class Ledger:
    """Counts device-seconds beside the clock: what training and scoring took, as the trials say.

    The two budgets are alike: the search may use `SEARCH_SHARE` of each, and leaves room for one repeat.
    """

    def __init__(
        self,
        clock: Clock,
        spec: StudySpec,
        trials: Mapping[int, Trial],
        baseline_seconds: float = 0.0,
        parts: int = 1,
    ) -> None:
        """`trials` are the study's by number, kept up to date by whoever records them.

        `parts` are those of an epoch at which a rung may end.
        """
        self.clock = clock
        self.spec = spec
        self.parts = parts
        self.calibration: Calibration | None = None
        self.baseline_seconds = baseline_seconds
        self._trials = trials
        self._granted: dict[int, tuple[float, float]] = {}
        """Bracket -> device-seconds until it starts no rung, and until it must have ended."""

    # ----------------------------------------------------------------------------- measured

    @property
    def device_seconds(self) -> float:
        """Used so far, by all trials and by the baselines on the backbone."""
        return self.baseline_seconds + sum(t.reports[-1].seconds for t in self._trials.values() if t.reports)

    @property
    def limited(self) -> bool:
        """Whether there is any budget to keep."""
        return self.spec.budget_seconds is not None or self.spec.device_seconds is not None

    def pace(self) -> float | None:
        """Device-seconds of one epoch of one candidate in a bracket: measured, else calibrated."""
        return self.paces()[0]

    def pace_alone(self) -> float | None:
        """The same for a candidate in a stack of its own, as finalists are trained."""
        return self.paces()[1]

    def pace_of_full(self) -> float | None:
        """The same for full fine-tuning as a baseline: measured, else guessed from a module's."""
        return self.paces()[2]

    def paces(self) -> tuple[float | None, float | None, float | None]:
        """`pace`, `pace_alone` and `pace_of_full`, in one look at the trials."""
        seconds, epochs = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        for trial in self._trials.values():
            if trial.reports:
                full = is_baseline(trial, self.spec.methods)
                kind = 2 if full else 0 if trial.repeat_of is None else 1
                seconds[kind] += trial.reports[-1].seconds
                epochs[kind] += trial.reports[-1].epochs
        pace, alone, whole = (s / e if e else None for s, e in zip(seconds, epochs, strict=True))
        if pace is None and self.calibration is not None:
            pace = self.calibration.stacked
        if alone is None and pace is not None:
            alone = pace * self._alone_factor
        if whole is None and alone is not None:
            whole = COST * alone
        return pace, alone, whole

    def _modules(self) -> list[Trial]:
        """What was trained, without full fine-tuning as a baseline, which is slower than all of it."""
        return [t for t in self._trials.values() if t.epochs and not is_baseline(t, self.spec.methods)]

    @property
    def _alone_factor(self) -> float:
        known = self.calibration
        return 1.0 if known is None or not known.stacked else max(1.0, known.alone / known.stacked)

    # ------------------------------------------------------------------------------- search

    def affordable(self, wanted: int, slots: int, running: Sequence[Bracket]) -> int:
        """How many candidates a new bracket may have, so that its first rung is paid for; 0: no bracket."""
        if not self.limited:
            return wanted
        soft, hard = self._bounds(slots, running)
        if min(soft) <= 0 or min(hard) <= 0:
            return 0
        first = plan(self.spec.epochs, 1, self.spec.early_exit, parts=self.parts).rungs[0]
        each = (self.pace() or 0.0) * first
        if each <= 0:
            return wanted
        by_deadline, by_end = (int(min(bound) // each) for bound in (soft, hard))
        return min(wanted, by_end, max(by_deadline, LEAST_BRACKET))

    def grant(self, number: int, slots: int, running: Sequence[Bracket], spent: float = 0.0) -> Allowance:
        """The bounds of a bracket of the search; its device-seconds are set aside while it runs.

        `spent` is what a bracket that is taken up again has used before: its bounds are for the rest.
        """
        soft, hard = self._bounds(slots, running)
        if self.spec.device_seconds is not None:
            self._granted[number] = soft[1] + spent, hard[1] + spent
        now = self.clock.now()
        return Allowance(
            deadline=now + soft[0], ends=now + hard[0], device_deadline=soft[1], device_ends=hard[1]
        )

    @property
    def halfway(self) -> bool:
        """Whether half of a budget is used; never without one."""
        budgets = (
            (self.clock.seconds, self.spec.budget_seconds),
            (self.device_seconds, self.spec.device_seconds),
        )
        return any(budget is not None and used > budget / 2 for used, budget in budgets)

    def room(self, slots: int, running: Sequence[Bracket]) -> float:
        """Seconds until one more bracket would start no rung, whichever budget ends first."""
        soft, hard = self._bounds(slots, running)
        return max(0.0, min(*soft, *hard))

    def _bounds(
        self, slots: int, running: Sequence[Bracket]
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """`(seconds, device-seconds)` of one bracket: until no rung starts, and until all must have ended."""
        clock, device = map(self._search_ends, (self.spec.budget_seconds, self.spec.device_seconds))
        free = max(1, slots - len(running))

        def until(end: int) -> tuple[float, float]:
            aside = sum(self._set_aside(bracket)[end] for bracket in running)
            return clock[end] - self.clock.seconds, (device[end] - self.device_seconds - aside) / free

        return until(0), until(1)

    def _search_ends(self, budget: float | None) -> tuple[float, float]:
        """How much of a budget the search may use before it starts no rung, and before its last rung ends."""
        if budget is None:
            return math.inf, math.inf
        finals = max(RESERVE * self._longest_training(), FINALS_SHARE * budget)
        return SEARCH_SHARE * budget, budget - finals

    def _longest_training(self) -> float:
        """Predicted seconds of a repeat of the slowest trial so far: it may be the recommended one.

        Nothing is set aside for full fine-tuning, which gets what the finalists leave.
        """
        paces = [t.reports[-1].seconds / t.epochs for t in self._modules()]
        return self.spec.epochs * max(self.pace_alone() or 0.0, self._alone_factor * max(paces, default=0.0))

    def _set_aside(self, bracket: Bracket) -> tuple[float, float]:
        numbers = [entry.number for entry in bracket.entries]
        spent = sum(self._trials[n].reports[-1].seconds for n in numbers if self._trials[n].reports)
        soft, hard = self._granted.get(bracket.number, (0.0, 0.0))
        return max(0.0, soft - spent), max(0.0, hard - spent)

    def too_short(self) -> str:
        """Why not a single candidate can be begun."""
        training = (self.pace_alone() or 0.0) * self.spec.epochs
        return (
            f"the budget pays for no candidate: a whole training of one takes about {training:.0f} s here, "
            f"and the best must be trained once more with a fresh seed; give at least {3 * training:.0f}s"
        )

    # ------------------------------------------------------------------------------- finals

    def remaining(self, slots: int) -> float:
        """Seconds by the clock that both budgets leave to trainings of which `slots` run side by side."""
        device = self.spec.device_seconds
        left = math.inf if device is None else (device - self.device_seconds) / slots
        return min(self.clock.remaining, left)

    def pays_for(self, bracket: Bracket, running: Sequence[Bracket] = ()) -> bool:
        """Whether a bracket of repeats can be trained within both budgets, beside those that run."""
        seconds = self.final_seconds(bracket)
        device = self.spec.device_seconds
        others = sum(self.final_seconds(other) for other in running)
        enough = device is None or self.device_seconds + others + seconds <= device
        return enough and seconds <= self.clock.remaining

    def final_seconds(self, bracket: Bracket) -> float:
        """Predicted device-seconds of a bracket of repeats."""
        repeated = (self._trials[entry.number].repeat_of for entry in bracket.entries)
        return sum(self.repeat_seconds(self._trials[number]) for number in repeated if number is not None)

    def repeat_seconds(self, trial: Trial) -> float:
        """Predicted device-seconds of one repeat of a trial: what other repeats, else the trial, took."""
        alike = [t for t in self._trials.values() if t.repeat_of == trial.number and t.epochs]
        if alike:
            return max(t.reports[-1].seconds * self.spec.epochs / t.epochs for t in alike)
        if not trial.epochs:
            return 0.0
        # Full fine-tuning is alone in the search, too.
        factor = 1.0 if trial.method == METHOD else self._alone_factor
        return trial.reports[-1].seconds * self.spec.epochs / trial.epochs * factor
