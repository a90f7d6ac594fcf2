"""The search: propose configurations, train them in brackets, repeat the best with fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selector import full_finetuning
from selector.brackets import UNFINISHED, Brackets, New
from selector.budget import Clock
from selector.estimate import estimate
from selector.finalists import Finals, choose_finalists, plan_finals
from selector.fitting import Fit, unlimited
from selector.full_finetuning import proposed
from selector.halving import Plan, plan
from selector.jobs import BaselineResult, Baselines, Bracket, Calibration, Job, Result, Wait
from selector.ledger import Ledger
from selector.limits import NO_LIMITS, Limits
from selector.proposals import Proposals
from selector.recording import Recording
from selector.space import Space
from selector.study import INTERRUPTED, StudySpec
from selector.study import SearchError as SearchError
from storage.database import Database
from storage.files import Files
from storage.records import State, Trial
from trainers.building import method_named
from trainers.cost import Cost
from trainers.epochs import parts_of_epoch
from trainers.method import MethodConfig
from trainers.task import Task

SMALLEST_BRACKET = 4
BASELINES = 3
"""One answer for all, a linear model of the words, the linear probe."""
LOST = 2
"""So many times a bracket is given to another worker when its own is lost."""


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
        no_full: str = "",
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """`no_full` says why the backbone cannot be fully fine-tuned; empty where it can.

        `stopping` is asked whether the study is to be left after the rung in flight.
        """
        self._database = database
        self._id = study_id
        self._task = task
        self._space = space
        self._clock = clock
        self._stopping = stopping
        study = database.study(study_id)
        self._spec = StudySpec.from_json(study.spec)
        self._recording = Recording(database, files, study_id, task)
        self._trials = self._recording.trials
        homeless = [t.number for t in study.trials if t.state in UNFINISHED and t.bracket is None]
        self._recording.finish(homeless, State.FAIL, INTERRUPTED)
        spent = sum(baseline.seconds for baseline in study.baselines if baseline.module_file is not None)
        self._ledger = Ledger(clock, self._spec, self._trials, spent, parts_of_epoch(task))
        self._brackets = Brackets(self._spec, self._recording, self._ledger, limits, task.metric, cost)
        self._asked = Proposals(database, study_id, self._spec, space, fit, task.metric)
        paced = self._ledger.pace() is not None or not self._ledger.limited
        self._baselines_started = len(self._recording.baselines) == BASELINES and paced
        self._running: list[Job] = []
        self._slots = 1
        self._open = self._brackets.unfinished(final=False)
        """Numbers of brackets of the search that are to be taken up again."""
        self._finals: list[int] | None = None
        """Numbers of brackets of repeats that are still to be trained; None before they are planned."""
        self._lost: dict[int, int] = {}
        """Bracket -> how often its worker was lost."""
        self._used_up = False
        self._overdrawn = False
        """Whether repeats are trained that the budgets do not pay for."""
        self.left_out = no_full if self._spec.full_finetuning else "it was not asked for"
        """Why full fine-tuning is not compared; empty as long as it is."""
        if any(trial.repeat_of is not None for trial in study.trials):
            self._take_up_finals()

    def _take_up_finals(self) -> None:
        """Go on with repeats that an earlier run has planned."""
        self._finals = self._brackets.unfinished(final=True)
        repeated = {t.method for t in self._trials.values() if t.repeat_of is not None}
        if full_finetuning.METHOD not in repeated:
            scored = any(trial.reports for trial in full_finetuning.attempts(self._trials.values()))
            unpaid = "the budget did not hold a training of it beside the finalists"
            failure = unpaid if scored else full_finetuning.failure(self._trials.values())
            self.left_out = self.left_out or failure

    # ------------------------------------------------------------------------- giving out

    def next_job(self, slots: int) -> Job | Wait | None:
        """The next job: the baselines, brackets of the search, among them full fine-tuning, the finalists."""
        self._slots = slots
        job = None if self.stopping else self._next_job(slots)
        if isinstance(job, Bracket):
            self._recording.start(job.number, [entry.number for entry in job.entries])
        if not isinstance(job, Wait):  # a runner asks again and again, and nothing has changed
            self._running += [] if job is None else [job]
            self._tell_progress()
        return job

    def _next_job(self, slots: int) -> Job | Wait | None:
        if not self._baselines_started:
            self._baselines_started = True
            return Baselines(seed=self._spec.seed, rungs=self._next_plan(slots).rungs)
        if self._ledger.limited and self._ledger.pace() is None and self._scoring_baselines():
            return Wait()  # for the calibration: without a pace a budget cannot be kept
        if self._open:
            return self._issued(self._open.pop(0))
        if self._full_is_due(slots, over=False):
            return self._issued(self._add_full())
        if (number := self._add_proposals(slots)) is not None:
            return self._issued(number)
        if self._full_is_due(slots, over=True):
            return self._issued(self._add_full())
        if self._running and self._finals is None:
            return Wait()
        if self._finals is None:
            self._finals = self._plan_finals(slots)
        # While repeats run, a worker may be lost and leave one to be given out again.
        return self._next_final() or (Wait() if self._running else None)

    @property
    def stopping(self) -> bool:
        """Whether the study is to be left after the rung in flight."""
        return self._stopping()

    def _issued(self, number: int) -> Bracket:
        return self._brackets.issued(number, self._slots, self._brackets_running())

    def _searched(self) -> list[Trial]:
        return [trial for trial in self._proposed() if trial.message != INTERRUPTED]

    def _proposed(self) -> list[Trial]:
        return [trial for trial in self._trials.values() if proposed(trial, self._spec.methods)]

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
        turn = self._brackets.turn(self._brackets.next_number)
        return self._plan(min(self._spec.bracket_size, share), turn)

    def _plan(self, size: int, turn: int = 0) -> Plan:
        return plan(self._spec.epochs, size, self._spec.early_exit, turn, parts=self._ledger.parts)

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

    def _add_proposals(self, slots: int) -> int | None:
        """The bracket of what is tried next; None once the trials, the time or the space is used up."""
        count = self._next_bracket_size(slots)
        if count == 0:
            return None
        try:
            asked = self._asked.next(count, self._searched(), self._proposed())
        except ValueError as error:  # every method keeps failing
            raise SearchError(str(error)) from None
        self._used_up = len(asked) < count
        if not asked:
            return None
        seed, number = self._spec.seed, self._brackets.next_number
        self._brackets.add([New(config, seed, number, origin=origin) for config, origin in asked])
        return number

    # -------------------------------------------------------------------- full fine-tuning

    @property
    def _full_is_searched(self) -> bool:
        return full_finetuning.METHOD in (self._spec.methods or ())

    def _full_is_due(self, slots: int, *, over: bool) -> bool:
        """After the first bracket; under a budget when the search is over or half is used, if it may fit."""
        if self.left_out or self._full_is_searched or self._finals is not None:
            return False
        if not full_finetuning.untried(self._trials.values()):
            return False
        if not self._ledger.limited:
            return self._brackets.next_number > 0
        if not (over or self._ledger.halfway) or not any(trial.reports for trial in self._searched()):
            return False
        rungs = self._plan(len(full_finetuning.LEARNING_RATES)).rungs
        pace, room = self._ledger.pace_of_full(), self._ledger.room(slots, self._brackets_running())
        self.left_out = full_finetuning.too_long(rungs[0], pace or 0.0, room)
        return not self.left_out

    def _add_full(self) -> int:
        """The bracket of the learning rates of full fine-tuning."""
        kind, number = method_named(full_finetuning.METHOD), self._brackets.next_number
        rates = full_finetuning.untried(self._trials.values())
        configs = [kind.from_values({"learning_rate": rate}) for rate in rates]
        self._brackets.add([New(config, self._spec.seed, number) for config in configs])
        return number

    # -------------------------------------------------------------------------- the finals

    def _plan_finals(self, slots: int) -> list[int]:
        """One bracket for each fresh seed; one for each training where several can run side by side.

        Full fine-tuning starts first, because its trainings are the longest, but under a budget last.
        """
        finals = self._finals_of(slots)
        first = self._spec.seed + 1
        groups = [(finals.finalists, seed) for seed in range(first, first + finals.seeds)]
        if finals.full is not None:
            full: list[tuple[tuple[Trial, ...], int]] = [
                ((finals.full,), seed) for seed in range(first, first + finals.full_seeds)
            ]
            groups = groups + full if self._ledger.limited else full + groups
        parts = [
            (part, seed) for chosen, seed in groups for part in ([chosen] if slots == 1 else _singly(chosen))
        ]
        brackets = range(self._brackets.next_number, self._brackets.next_number + len(parts))
        self._brackets.add(
            [
                New(method_named(trial.method).from_values(trial.config), seed, bracket, trial.number)
                for bracket, (part, seed) in zip(brackets, parts, strict=True)
                for trial in part
            ]
        )
        return list(brackets)

    def _finals_of(self, slots: int) -> Finals:
        metric = self._task.metric
        chosen = choose_finalists(self._searched(), metric, self._spec.finalists)
        tried = [] if self.left_out else full_finetuning.attempts(self._trials.values())
        full = choose_finalists(tried, metric, 1)
        if not chosen and not full:
            reasons = [t.message for t in self._trials.values() if t.message]
            why = f": {reasons[0]}" if reasons else ""
            raise SearchError(f"no configuration could be trained{why}")
        finals = plan_finals(
            chosen,
            None if not full or full[0] in chosen else full[0],
            seeds=self._spec.seeds,
            seconds=self._ledger.repeat_seconds,
            slots=slots,
            remaining=self._ledger.remaining(slots),
        )
        failure = "" if full else full_finetuning.failure(self._trials.values())
        self.left_out = self.left_out or finals.left_out or failure
        return finals

    def _next_final(self) -> Bracket | None:
        """The next repeats that the budgets pay for; those that they do not are given up.

        The first are trained in any case: without them nothing can be recommended.
        """
        assert self._finals is not None
        while self._finals:
            bracket = self._issued(self._finals.pop(0))
            paid = self._ledger.pays_for(bracket, self._brackets_running())
            if paid or not self._repeated():
                self._overdrawn = not paid
                return bracket
            message = (
                f"the budget does not pay for it: it takes about {self._ledger.final_seconds(bracket):.0f} s"
            )
            self._recording.finish([entry.number for entry in bracket.entries], State.PRUNED, message)
        return None

    def _repeated(self) -> bool:
        """Whether a finalist was trained again, or is being trained."""
        begun = (State.RUNNING, State.COMPLETE)
        return any(t.repeat_of is not None and t.state in begun for t in self._trials.values())

    # --------------------------------------------------------------------------- taking in

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
            self._end_baselines(failure, lost=lost)
            return
        left = [e.number for e in job.entries if self._trials[e.number].state in UNFINISHED]
        if not (left and lost and self._may_lose(job.number)):
            self._recording.finish(left, State.FAIL, failure or "the worker gave no result")
        elif self._finals is None:
            self._open.insert(0, job.number)
        else:
            self._finals.insert(0, job.number)

    def _end_baselines(self, failure: str | None, *, lost: bool) -> None:
        if len(self._recording.baselines) == BASELINES:
            return
        if not (lost and self._may_lose(-1)):
            raise SearchError(f"the baselines could not be scored: {failure}")
        self._baselines_started = False

    def _may_lose(self, number: int) -> bool:
        self._lost[number] = self._lost.get(number, 0) + 1
        return self._lost[number] <= LOST

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
            full=not self.left_out and not self._full_is_searched,
        )
        if self._overdrawn:
            text = f"{text}; the budget is used up, but without a repeat nothing can be recommended"
        elif coming is not None:
            text = f"{text}; {coming}"
        self._database.set_study_state(self._id, State.RUNNING, message=text, seconds=self._clock.seconds)


def _singly(trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    return [(trial,) for trial in trials]
