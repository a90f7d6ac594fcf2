"""Brackets as they stand in the store: new ones, and what an interruption left of others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from selector import full_finetuning
from selector.allowance import Allowance
from selector.full_finetuning import is_baseline, proposed
from selector.halving import plan
from selector.jobs import Bracket, Entry
from selector.ledger import Ledger
from selector.limits import Limits
from selector.recording import Recording
from selector.study import StudySpec
from storage.records import State, Trial
from trainers.cost import Cost
from trainers.method import MethodConfig

UNFINISHED = (State.WAITING, State.RUNNING)


@dataclass(frozen=True)
class New:
    """A trial that is to be written down."""

    config: MethodConfig
    seed: int
    bracket: int
    repeat_of: int | None = None
    origin: str | None = None


class Brackets:
    """Makes brackets of trials that are written down with a bracket's number, whoever wrote them down.

    All that belongs to a bracket follows from its trials, so that one that was interrupted is the same
    bracket again, less what it has done.
    """

    def __init__(
        self,
        spec: StudySpec,
        recording: Recording,
        ledger: Ledger,
        limits: Limits,
        metric: str,
        cost: Callable[[MethodConfig], Cost | None],
    ) -> None:
        self._spec = spec
        self._recording = recording
        self._ledger = ledger
        self._limits = limits
        self._metric = metric
        self._cost = cost

    def add(self, trials: Sequence[New]) -> None:
        """Write down trials in one transaction: what a killed run leaves is a whole bracket, or none."""
        first = len(self._recording.trials)
        self._recording.add([self._trial(number, new) for number, new in enumerate(trials, first)])

    def _trial(self, number: int, new: New) -> Trial:
        cost = self._cost(new.config)
        repeated = None if new.repeat_of is None else self._recording.trials[new.repeat_of]
        return Trial(
            number=number,
            method=new.config.name,
            config=new.config.values(),
            seed=new.seed,
            state=State.WAITING,
            bracket=new.bracket,
            repeat_of=new.repeat_of,
            origin=new.origin,
            trainable_parameters=None if cost is None else cost.trainable_parameters,
            stored_bytes=None if cost is None else cost.stored_bytes,
            training_bytes=None if repeated is None else repeated.training_bytes,
        )

    @property
    def next_number(self) -> int:
        """The number of the next bracket; as many have been given out."""
        trials = self._recording.trials.values()
        return 1 + max((t.bracket for t in trials if t.bracket is not None), default=-1)

    def turn(self, number: int) -> int:
        """How many brackets of proposed configurations came before the one with a number."""
        earlier = (t for t in self._recording.trials.values() if t.bracket is not None and t.bracket < number)
        return len({t.bracket for t in earlier if proposed(t, self._spec.methods)})

    def unfinished(self, *, final: bool) -> list[int]:
        """Numbers of the brackets that are not trained to the end: of repeats, or of all others."""
        trials = [t for t in self._recording.trials.values() if t.state in UNFINISHED]
        mine = [t for t in trials if (t.repeat_of is not None) == final]
        return sorted({t.bracket for t in mine if t.bracket is not None})

    def issued(self, number: int, slots: int, running: Sequence[Bracket]) -> Bracket:
        """The bracket with a number, to be trained from where it stands, beside those that run."""
        own = [trial for trial in self._recording.trials.values() if trial.bracket == number]
        staying = [trial for trial in own if trial.state in UNFINISHED]
        begun = min(len(trial.reports) for trial in staying)
        final = staying[0].repeat_of is not None
        full = is_baseline(staying[0], self._spec.methods)
        turn = 0 if full else self.turn(number)
        parts = self._ledger.parts
        rungs = plan(self._spec.epochs, len(own), self._spec.early_exit, turn, parts=parts).rungs
        return Bracket(
            number=number,
            entries=tuple(self._entry(trial) for trial in staying),
            rungs=(self._spec.epochs,) if final else rungs,
            metric=self._metric,
            order_seed=staying[0].seed,
            final=final,
            best_only=full and not final,
            patience=self._spec.patience,
            allowance=Allowance() if final else self._allowance(number, own, slots, running),
            objectives=self._spec.objectives,
            limits=self._limits,
            begun=begun,
            # Who was never scored was in no stack.
            left=tuple(self._entry(t) for t in own if begun and t not in staying and t.reports),
        )

    def _entry(self, trial: Trial) -> Entry:
        return replace(
            Entry.of(trial),
            time=trial.repeat_of is None or trial.number == self._timed(trial.repeat_of),
            keep_module=full_finetuning.keeps_module(trial, self._recording.trials.values()),
            checkpoint=self._recording.checkpoint(trial),
        )

    def _timed(self, finalist: int) -> int:
        """Which of its repeats is timed: the first that did not fail."""
        alike = [t for t in self._recording.trials.values() if t.repeat_of == finalist]
        return min(t.number for t in alike if t.state is not State.FAIL)

    def _allowance(
        self, number: int, trials: Sequence[Trial], slots: int, running: Sequence[Bracket]
    ) -> Allowance:
        spent = sum(trial.reports[-1].seconds for trial in trials if trial.reports)
        allowance = self._ledger.grant(number, slots, running, spent)
        deadline = self._ledger.clock.search_deadline
        return replace(allowance, deadline=math.inf if deadline is None else deadline)
