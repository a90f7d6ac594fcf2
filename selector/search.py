"""The search: propose configurations, train them in brackets, repeat the best with fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from selector.allowance import Allowance
from selector.budget import Clock, affordable_repeats
from selector.estimate import estimate
from selector.finalists import choose_finalists
from selector.fitting import Fit, unlimited
from selector.halving import Plan, plan
from selector.jobs import BaselineResult, Baselines, Bracket, Calibration, Entry, Job, Result, Wait
from selector.ledger import Ledger
from selector.limits import NO_LIMITS, Limits
from selector.prior import Suggestion, open_places, origin_of, similar_studies, suggest
from selector.recording import Recording
from selector.samplers import USUAL_OBJECTIVES, propose
from selector.space import Space
from selector.study import StudySpec
from storage.database import Database
from storage.files import Files
from storage.records import State, Trial
from trainers.building import method_named
from trainers.cost import Cost
from trainers.method import MethodConfig
from trainers.task import Task

INTERRUPTED = "the run ended while this trial was training"
"""Of a trial that cannot go on: an earlier version did not write down what it was trained with."""
SMALLEST_BRACKET = 4
BASELINES = 3
"""One answer for all, a linear model of the words, the linear probe."""
LOST = 2
"""So many times a bracket is given to another worker when its own is lost."""
UNFINISHED = (State.WAITING, State.RUNNING)


class SearchError(RuntimeError):
    """The search cannot go on; the message is shown as it is."""


class Search:
    """Gives out the jobs of a study and writes down what comes of them.

    All it knows stands in the store, so a new `Search` on the same study goes on where an earlier one
    ended: unfinished brackets after their last rung. What is written down is the same as of one that
    was never interrupted.
    """

    def __init__(
        self,
        database: Database,
        files: Files,
        study_id: int,
        task: Task,
        space: Space,
        cost: Callable[[MethodConfig], Cost | None],
        clock: Clock,
        limits: Limits = NO_LIMITS,
        fit: Fit = unlimited,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """`stopping` says whether the study is to be left after the rung in flight."""
        self._database = database
        self._id = study_id
        self._task = task
        self._space = space
        self._cost = cost
        self._clock = clock
        self._limits = limits
        self._fit = fit
        self._stopping = stopping
        study = database.study(study_id)
        self._spec = StudySpec.from_json(study.spec)
        self._recording = Recording(database, files, study_id, task)
        self._trials = self._recording.trials
        homeless = [t.number for t in study.trials if t.state in UNFINISHED and t.bracket is None]
        self._recording.finish(homeless, State.FAIL, INTERRUPTED)
        spent = sum(baseline.seconds for baseline in study.baselines if baseline.module_file is not None)
        self._ledger = Ledger(clock, self._spec, self._trials, spent)
        known = self._ledger.pace() is not None or not self._ledger.limited
        self._baselines_started = len(self._recording.baselines) == BASELINES and known
        self._running: list[Job] = []
        self._slots = 1
        self._open = self._unfinished(final=False)
        """Brackets of the search that are to be taken up again."""
        planned = any(t.repeat_of is not None for t in study.trials)
        self._finals = self._unfinished(final=True) if planned else None
        """Brackets of repeats that are still to be trained; None before they are planned."""
        self._lost: dict[int, int] = {}
        """Bracket -> how often its worker was lost."""
        self._used_up = False

    def _unfinished(self, *, final: bool) -> list[int]:
        trials = [t for t in self._trials.values() if t.state in UNFINISHED]
        return sorted(
            {t.bracket for t in trials if t.bracket is not None and (t.repeat_of is not None) == final}
        )

    # ------------------------------------------------------------------------- giving out

    def next_job(self, slots: int) -> Job | Wait | None:
        """The next job: the baselines, then brackets of the search, then the finalists."""
        job: Job | Wait | None
        self._slots = slots
        if self.stopping:
            job = None
        elif not self._baselines_started:
            self._baselines_started = True
            job = Baselines(seed=self._spec.seed, rungs=self._next_plan(slots).rungs)
        elif self._ledger.limited and self._ledger.pace() is None and self._scoring_baselines():
            job = Wait()  # for the calibration: without a pace a budget cannot be kept
        elif self._open:
            job = self._issued(self._open.pop(0))
        elif trials := self._proposals(slots):
            job = self._issued(trials[0].bracket)
        elif self._running and self._finals is None:
            job = Wait()
        else:
            if self._finals is None:
                self._finals = self._plan_finals(slots)
            # While repeats run, a worker may be lost and leave one to be given out again.
            job = self._next_final() or (Wait() if self._running else None)
        if isinstance(job, Bracket):
            self._recording.start(job.number, [entry.number for entry in job.entries])
        if job is not None and not isinstance(job, Wait):
            self._running.append(job)
        self._tell_progress()
        return job

    @property
    def stopping(self) -> bool:
        """Whether the study is to be left after the rung in flight."""
        return self._stopping()

    def _searched(self) -> list[Trial]:
        return [t for t in self._trials.values() if t.repeat_of is None and t.message != INTERRUPTED]

    def _to_propose(self) -> int:
        return self._spec.trials - len(self._searched())

    @property
    def note(self) -> str:
        """What is to be said of a search that ended before all trials were tried; usually nothing."""
        tried = len(self._searched())
        held = f"the space holds no more than the {tried} configurations that were tried"
        return held if self._used_up else ""

    def _scoring_baselines(self) -> bool:
        scoring = any(isinstance(job, Baselines) for job in self._running)
        return scoring and len(self._recording.baselines) < BASELINES

    def _next_plan(self, slots: int) -> Plan:
        """Small enough that every place gets a bracket, large enough that cutting means something."""
        share = max(SMALLEST_BRACKET, -(-self._spec.trials // slots))
        size = min(self._spec.bracket_size, share)
        return plan(self._spec.epochs, size, self._spec.early_exit, self._turn(self._brackets))

    def _turn(self, number: int) -> int:
        """How many brackets of the search came before the one with a number."""
        return len({t.bracket for t in self._searched() if t.bracket is not None and t.bracket < number})

    @property
    def _brackets(self) -> int:
        """The number of the next bracket."""
        return 1 + max((t.bracket for t in self._trials.values() if t.bracket is not None), default=-1)

    def _next_bracket_size(self, slots: int) -> int:
        """As many candidates as the plan says and the budget pays; 0: no more."""
        count = min(self._next_plan(slots).size, self._to_propose())
        if count <= 0 or self._finals is not None:
            return 0
        paid = self._ledger.affordable(count, slots, self._brackets_running())
        if not paid and not self._trials:
            raise SearchError(self._ledger.too_short())
        return paid

    def _brackets_running(self) -> list[Bracket]:
        return [job for job in self._running if isinstance(job, Bracket)]

    def _proposals(self, slots: int) -> list[Trial]:
        """What to try next; nothing once the trials, the time or the space is used up."""
        count = self._next_bracket_size(slots)
        if count == 0:
            return []
        suggested = self._suggested()
        # What was in training when a run ended is tried again only where nothing else is left.
        everything = list(self._trials.values())
        configs = self._ask(everything, count, suggested) or self._ask(self._searched(), count, suggested)
        self._used_up = len(configs) < count
        number, seed = self._brackets, self._spec.seed
        trials = [
            self._trial(i, config, seed, number, origin=origin_of(config, self._space, suggested))
            for i, config in enumerate(configs, start=len(self._trials))
        ]
        self._recording.add(trials)
        return trials

    def _ask(
        self, trials: Sequence[Trial], count: int, suggested: Sequence[Suggestion]
    ) -> list[MethodConfig]:
        objectives = self._spec.objectives
        if len(objectives) == 1:
            objectives = USUAL_OBJECTIVES.get(self._spec.sampler, objectives)
        return propose(
            trials,
            count,
            self._space,
            self._task.metric,
            self._spec.seed,
            suggested=[suggestion.config for suggestion in suggested],
            fit=self._fit,
            sampler=self._spec.sampler,
            objectives=objectives,
        )

    def _suggested(self) -> list[Suggestion]:
        """What the memory may add: nothing once its places are taken."""
        places = open_places(self._searched(), self._spec.trials) if self._spec.memory else 0
        if not places:
            return []
        study = self._database.study(self._id)
        return suggest(study, similar_studies(self._database, study), self._space, places)

    def _trial(
        self,
        number: int,
        config: MethodConfig,
        seed: int,
        bracket: int,
        *,
        repeat_of: int | None = None,
        origin: str | None = None,
    ) -> Trial:
        cost = self._cost(config)
        return Trial(
            number=number,
            method=config.name,
            config=config.values(),
            seed=seed,
            state=State.WAITING,
            bracket=bracket,
            repeat_of=repeat_of,
            origin=origin,
            trainable_parameters=None if cost is None else cost.trainable_parameters,
            stored_bytes=None if cost is None else cost.stored_bytes,
        )

    def _issued(self, number: int | None) -> Bracket:
        """A bracket as it stands in the store: a new one, or what an interruption left of it."""
        assert number is not None
        own = [trial for trial in self._trials.values() if trial.bracket == number]
        staying = [trial for trial in own if trial.state in UNFINISHED]
        begun = min(len(trial.reports) for trial in staying)
        final = staying[0].repeat_of is not None
        epochs = self._spec.epochs
        whole = plan(epochs, len(own), self._spec.early_exit, self._turn(number)).rungs
        return Bracket(
            number=number,
            entries=tuple(self._entry(trial) for trial in staying),
            rungs=(epochs,) if final else whole,
            metric=self._task.metric,
            order_seed=staying[0].seed,
            final=final,
            patience=self._spec.patience,
            allowance=Allowance() if final else self._allowance(number, own),
            objectives=self._spec.objectives,
            limits=self._limits,
            begun=begun,
            # Who was never scored was in no stack.
            left=tuple(self._entry(t) for t in own if begun and t not in staying and t.reports),
        )

    def _entry(self, trial: Trial) -> Entry:
        return Entry(
            number=trial.number,
            method=trial.method,
            values=trial.config,
            seed=trial.seed,
            stored_bytes=trial.stored_bytes or 0,
            parameters=trial.trainable_parameters or 0,
            checkpoint=self._recording.checkpoint(trial),
            latency=trial.latency,
        )

    def _allowance(self, number: int, trials: Sequence[Trial]) -> Allowance:
        spent = sum(trial.reports[-1].seconds for trial in trials if trial.reports)
        allowance = self._ledger.grant(number, self._slots, self._brackets_running(), spent)
        deadline = self._clock.search_deadline
        return replace(allowance, deadline=math.inf if deadline is None else deadline)

    def _plan_finals(self, slots: int) -> list[int]:
        """One bracket for each fresh seed; one for each training where several can run side by side."""
        chosen = choose_finalists(self._searched(), self._task.metric, self._spec.finalists)
        if not chosen:
            reasons = [t.message for t in self._searched() if t.message]
            why = f": {reasons[0]}" if reasons else ""
            raise SearchError(f"no configuration could be trained{why}")
        finalists, seeds = affordable_repeats(
            len(chosen),
            self._spec.seeds,
            training_seconds=_whole_training(chosen, self._spec.epochs),
            slots=slots,
            remaining=self._ledger.remaining(slots),
        )
        size = len(chosen) if slots == 1 else 1
        parts = [
            [(trial, seed) for trial in chosen[:finalists][i : i + size]]
            for seed in range(self._spec.seed + 1, self._spec.seed + 1 + seeds)
            for i in range(0, finalists, size)
        ]
        brackets = range(self._brackets, self._brackets + len(parts))
        repeats = [(*pair, bracket) for bracket, part in zip(brackets, parts, strict=True) for pair in part]
        self._recording.add([self._repeat(i, *one) for i, one in enumerate(repeats, len(self._trials))])
        return list(brackets)

    def _repeat(self, number: int, trial: Trial, seed: int, bracket: int) -> Trial:
        config = method_named(trial.method).from_values(trial.config)
        return self._trial(number, config, seed, bracket, repeat_of=trial.number)

    def _next_final(self) -> Bracket | None:
        """The next repeats that the budgets pay for; those that they do not are given up."""
        assert self._finals is not None
        while self._finals:
            bracket = self._issued(self._finals.pop(0))
            if self._ledger.pays_for(bracket, self._brackets_running()):
                return bracket
            message = f"the budget does not pay for it: about {self._ledger.final_seconds(bracket):.0f} s"
            self._recording.finish([entry.number for entry in bracket.entries], State.PRUNED, message)
        return None

    # ---------------------------------------------------------------------------- taking in

    def record(self, job: Job, result: Result) -> None:
        """Write down a result; finished trials never change afterwards."""
        if isinstance(result, Calibration):
            self._ledger.calibration = result
        elif isinstance(result, BaselineResult):
            if result.name not in self._recording.baselines and result.module is not None:
                self._ledger.baseline_seconds += result.seconds
            self._recording.baseline(result)
        else:
            self._recording.rung(result)
        self._tell_progress()

    def ended(self, job: Job, failure: str | None = None, *, lost: bool = False) -> None:
        """A job gives no more results: what it left unfinished has failed.

        Unless the study is being left, or the worker was lost and another one may go on after the last rung.
        """
        self._running.remove(job)
        if failure is None and self.stopping:
            return
        if isinstance(job, Baselines):
            if len(self._recording.baselines) < BASELINES:
                raise SearchError(f"the baselines could not be scored: {failure}")
            return
        left = [e.number for e in job.entries if self._trials[e.number].state in UNFINISHED]
        if left and lost and self._lost.setdefault(job.number, 0) < LOST:
            self._lost[job.number] += 1
            again = self._open if self._finals is None else self._finals
            again.insert(0, job.number)
            return
        self._recording.finish(left, State.FAIL, failure or "the worker gave no result")

    def _tell_progress(self) -> None:
        searched = self._searched()
        done = sum(t.state in (State.COMPLETE, State.PRUNED, State.FAIL) for t in searched)
        total = len(searched) if self._used_up else self._spec.trials
        text = f"searching: {done} of {total} configurations finished"
        if self._finals is not None:
            repeats = [
                t for t in self._trials.values() if t.repeat_of is not None and t.message != INTERRUPTED
            ]
            done = sum(t.state is State.COMPLETE for t in repeats)
            text = f"repeating finalists with fresh seeds: {done} of {len(repeats)} trainings done"
        coming = estimate(
            self._ledger,
            self._trials,
            methods=len(self._space.methods),
            slots=self._slots,
            searching=self._finals is None,
        )
        text = text if coming is None else f"{text}; {coming}"
        self._database.set_study_state(self._id, State.RUNNING, message=text, seconds=self._clock.seconds)


def _whole_training(trials: Sequence[Trial], epochs: int) -> float:
    """Seconds of one whole training, scaled up from what the trials have used."""
    return max(trial.reports[-1].seconds * epochs / trial.epochs for trial in trials)
