"""The search: propose configurations, write down their rungs, repeat the best with fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from safetensors.numpy import save as save_arrays

from selector import full_finetuning
from selector.budget import Clock, whole_training
from selector.finalists import Finals, choose_finalists, plan_finals
from selector.full_finetuning import INTERRUPTED, proposed
from selector.halving import plan
from selector.jobs import BaselineResult, Baselines, Bracket, Entry, Job, Logits, Outcome, Result, Rung, Wait
from selector.samplers import propose
from selector.space import Space
from selector.study import StudySpec
from storage.database import Database
from storage.files import Files
from storage.records import Baseline, Gate, Report, State, Trial
from trainers.building import method_named
from trainers.cost import Cost
from trainers.fidelity import Report as Measured
from trainers.method import MethodConfig
from trainers.task import Task

SMALLEST_BRACKET = 4
BASELINES = 3
"""One answer for all, a linear model of the words, the linear probe."""


class SearchError(RuntimeError):
    """The search cannot go on; the message is shown as it is."""


class Search:
    """Gives out the jobs of a study and writes down what comes of them.

    All it knows stands in the store, so a new `Search` on the same study goes on
    where an earlier one ended; only what was in flight is trained again.
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
        no_full: str = "",
    ) -> None:
        """`no_full` says why the backbone cannot be fully fine-tuned; empty where it can."""
        self._database = database
        self._files = files
        self._id = study_id
        self._task = task
        self._space = space
        self._cost = cost
        self._clock = clock
        database.fail_running_trials(study_id, INTERRUPTED)
        study = database.study(study_id)
        self._spec = StudySpec.from_json(study.spec)
        self._trials = {trial.number: trial for trial in study.trials}
        self._baselines = {baseline.name for baseline in study.baselines}
        self._baselines_started = len(self._baselines) == BASELINES
        self._brackets = 1 + max((t.bracket for t in study.trials if t.bracket is not None), default=-1)
        self._running: list[Job] = []
        self._finals: list[Bracket] | None = None
        self.left_out = no_full if self._spec.full_finetuning else "it was not asked for"
        """Why full fine-tuning is not compared; empty as long as it is."""

    # ------------------------------------------------------------------------- giving out

    def next_job(self, slots: int) -> Job | Wait | None:
        """The next job: the baselines, brackets of the search, among them full fine-tuning, the finalists."""
        job: Job | Wait | None
        if not self._baselines_started:
            self._baselines_started = True
            job = Baselines(seed=self._spec.seed)
        elif self._full_is_due():
            job = self._full_bracket()
        elif self._to_propose() > 0 and self._clock.searching:
            job = self._propose(slots)
        elif self._running and self._finals is None:
            job = Wait()
        else:
            if self._finals is None:
                self._finals = self._plan_finals(slots)
            job = self._finals.pop(0) if self._finals else None
        if isinstance(job, Bracket):
            self._database.start_trials(self._id, [entry.number for entry in job.entries], job.number)
            for entry in job.entries:
                self._trials[entry.number] = replace(
                    self._trials[entry.number], state=State.RUNNING, bracket=job.number
                )
        if job is not None and not isinstance(job, Wait):
            self._running.append(job)
        self._tell_progress()
        return job

    def _searched(self) -> list[Trial]:
        return [
            t for t in self._trials.values() if proposed(t, self._spec.methods) and t.message != INTERRUPTED
        ]

    def _to_propose(self) -> int:
        return self._spec.trials - len(self._searched())

    def _propose(self, slots: int) -> Bracket:
        # Small enough that every place gets a bracket, large enough that cutting means something.
        share = max(SMALLEST_BRACKET, -(-self._spec.trials // slots))
        count = min(self._spec.bracket_size, share, self._to_propose())
        configs = propose(list(self._trials.values()), count, self._space, self._task.metric, self._spec.seed)
        trials = [self._add(config, self._spec.seed) for config in configs]
        return self._bracket(trials, rungs=plan(self._spec.epochs), deadline=self._clock.search_deadline)

    def _full_is_due(self) -> bool:
        """After the first bracket; under a budget last, or when half is used, and only if it may fit."""
        named = full_finetuning.METHOD in (self._spec.methods or ())
        if self.left_out or named or not full_finetuning.untried(self._trials.values()):
            return False
        deadline = self._clock.search_deadline
        if deadline is None:
            return self._brackets > 0
        trained = [trial for trial in self._searched() if trial.reports]
        if not trained or not self._clock.searching or (self._to_propose() > 0 and not self._clock.halfway):
            return False
        share = plan(self._spec.epochs)[0] / self._spec.epochs
        seconds = full_finetuning.first_rung(whole_training(trained, self._spec.epochs), share)
        if seconds > self._clock.search_seconds:
            self.left_out = (
                f"its learning rates would be compared after about {seconds:.0f} s, "
                f"and the search had {self._clock.search_seconds:.0f} s left"
            )
        return not self.left_out

    def _full_bracket(self) -> Bracket:
        kind = method_named(full_finetuning.METHOD)
        configs = [
            kind.from_values({"learning_rate": rate})
            for rate in full_finetuning.untried(self._trials.values())
        ]
        trials = [self._add(config, self._spec.seed) for config in configs]
        rungs, deadline = plan(self._spec.epochs), self._clock.search_deadline
        return self._bracket(trials, rungs=rungs, deadline=deadline, best_only=True)

    def _add(self, config: MethodConfig, seed: int, repeat_of: int | None = None) -> Trial:
        cost = self._cost(config)
        trial = Trial(
            number=len(self._trials),
            method=config.name,
            config=config.values(),
            seed=seed,
            state=State.WAITING,
            repeat_of=repeat_of,
            trainable_parameters=None if cost is None else cost.trainable_parameters,
            stored_bytes=None if cost is None else cost.stored_bytes,
        )
        self._database.add_trials(self._id, [trial])
        self._trials[trial.number] = trial
        return trial

    def _bracket(
        self,
        trials: Sequence[Trial],
        *,
        rungs: tuple[int, ...],
        deadline: float | None = None,
        final: bool = False,
        best_only: bool = False,
    ) -> Bracket:
        entries = [
            Entry(
                number=trial.number,
                method=trial.method,
                values=trial.config,
                seed=trial.seed,
                stored_bytes=trial.stored_bytes or 0,
                keep_module=self._keeps_module(trial),
            )
            for trial in trials
        ]
        self._brackets += 1
        return Bracket(
            number=self._brackets - 1,
            entries=tuple(entries),
            rungs=rungs,
            metric=self._task.metric,
            order_seed=trials[0].seed,
            final=final,
            best_only=best_only,
            deadline=deadline,
        )

    def _plan_finals(self, slots: int) -> list[Bracket]:
        """One bracket for each fresh seed; one for each training where several can run side by side.

        Full fine-tuning starts first: its trainings are the longest.
        """
        finals = self._finals_of(slots)
        first = self._spec.seed + 1
        groups = [(finals.finalists, seed) for seed in range(first, first + finals.seeds)]
        if finals.full is not None:
            groups = [((finals.full,), seed) for seed in range(first, first + finals.full_seeds)] + groups
        brackets = []
        for chosen, seed in groups:
            repeats = [self._repeat(trial, seed) for trial in chosen if not self._repeated(trial, seed)]
            size = len(chosen) if slots == 1 else 1
            parts = [repeats[i : i + size] for i in range(0, len(repeats), size)]
            brackets += [self._bracket(part, rungs=(self._spec.epochs,), final=True) for part in parts]
        return brackets

    def _finals_of(self, slots: int) -> Finals:
        metric = self._task.metric
        chosen = choose_finalists(self._searched(), metric, self._spec.finalists)
        full = choose_finalists(full_finetuning.attempts(self._trials.values()), metric, 1)
        if not chosen and not full:
            reasons = [t.message for t in self._trials.values() if t.message]
            why = f": {reasons[0]}" if reasons else ""
            raise SearchError(f"no configuration could be trained{why}")
        finals = plan_finals(
            chosen,
            None if not full or full[0] in chosen else full[0],
            seeds=self._spec.seeds,
            epochs=self._spec.epochs,
            slots=slots,
            remaining=self._clock.remaining,
        )
        self.left_out = self.left_out or finals.left_out or self._full_failure(found=bool(full))
        return finals

    def _full_failure(self, *, found: bool) -> str:
        """Why no learning rate of full fine-tuning came to a score; empty where one did."""
        tried = full_finetuning.attempts(self._trials.values())
        messages = [trial.message for trial in tried if trial.message]
        return "" if found else (messages or ["the search had no time for it"])[0]

    def _keeps_module(self, trial: Trial) -> bool:
        """Full fine-tuning leaves modules as large as the backbone: one is kept, of the first repeat."""
        if trial.method != full_finetuning.METHOD:
            return True
        beside = [
            t for t in self._trials.values() if t.repeat_of == trial.repeat_of and t.state is not State.FAIL
        ]
        return trial.repeat_of is not None and trial.number == min(one.number for one in beside)

    def _repeat(self, trial: Trial, seed: int) -> Trial:
        return self._add(method_named(trial.method).from_values(trial.config), seed, repeat_of=trial.number)

    def _repeated(self, trial: Trial, seed: int) -> bool:
        return any(
            t.repeat_of == trial.number and t.seed == seed and t.state is State.COMPLETE
            for t in self._trials.values()
        )

    # ------------------------------------------------------------------------- writing down

    def record(self, job: Job, result: Result) -> None:
        """Write down a result; finished trials never change afterwards."""
        if isinstance(result, BaselineResult):
            if result.name not in self._baselines:
                self._record_baseline(result)
        else:
            self._record_rung(result)
        self._tell_progress()

    def _record_baseline(self, result: BaselineResult) -> None:
        task = self._task
        self._database.add_baseline(
            self._id,
            Baseline(
                name=result.name,
                validation=task.metrics(task.validation, result.validation_logits),
                config=result.config,
                trainable_parameters=result.trainable_parameters,
                stored_bytes=result.stored_bytes,
                seconds=result.seconds,
                module_file=None if result.module is None else self._files.put(result.module),
                predictions_file=self._keep_logits(result.validation_logits, result.test_logits),
            ),
        )
        self._baselines.add(result.name)

    def _record_rung(self, rung: Rung) -> None:
        trials = [self._after(rung.rung, outcome) for outcome in rung.outcomes]
        measured = {o.number: t.reports[-1] for o, t in zip(rung.outcomes, trials, strict=True) if o.report}
        complete = [trial for trial in trials if trial.state is State.COMPLETE]
        others = [trial for trial in trials if trial.state is not State.COMPLETE]
        self._database.record_rung(
            self._id,
            measured,
            {trial.number: trial.state for trial in others},
            {trial.number: trial.message for trial in others if trial.message},
        )
        for trial in complete:
            self._database.finish_trial(
                self._id,
                trial.number,
                State.COMPLETE,
                module_file=trial.module_file,
                predictions_file=trial.predictions_file,
            )
        self._trials.update({trial.number: trial for trial in trials})

    def _after(self, rung: int, outcome: Outcome) -> Trial:
        trial = self._trials[outcome.number]
        reports = trial.reports
        if outcome.report is not None:
            reports += (_kept(rung, outcome.report),)
        logits, test = outcome.validation_logits, outcome.test_logits
        return replace(
            trial,
            state=outcome.state,
            reports=reports,
            message=outcome.message,
            module_file=None if outcome.module is None else self._files.put(outcome.module),
            predictions_file=None if logits is None else self._keep_logits(logits, test),
        )

    def _keep_logits(self, validation: Logits, test: Logits | None) -> str:
        parts = {"validation": validation} if test is None else {"validation": validation, "test": test}
        return self._files.put(save_arrays(parts))

    def ended(self, job: Job, failure: str | None = None) -> None:
        """A job gives no more results: what it left unfinished has failed."""
        self._running.remove(job)
        if isinstance(job, Baselines):
            if len(self._baselines) < BASELINES:
                raise SearchError(f"the baselines could not be scored: {failure}")
            return
        left = [self._trials[e.number] for e in job.entries if self._trials[e.number].state is State.RUNNING]
        message = failure or "the worker gave no result"
        for trial in left:
            self._database.finish_trial(self._id, trial.number, State.FAIL, message=message)
            self._trials[trial.number] = replace(trial, state=State.FAIL, message=message)

    def _tell_progress(self) -> None:
        searched = self._searched()
        done = sum(t.state in (State.COMPLETE, State.PRUNED, State.FAIL) for t in searched)
        text = f"searching: {done} of {self._spec.trials} configurations finished"
        if self._finals is not None:
            repeats = [
                t for t in self._trials.values() if t.repeat_of is not None and t.message != INTERRUPTED
            ]
            done = sum(t.state is State.COMPLETE for t in repeats)
            text = f"repeating finalists with fresh seeds: {done} of {len(repeats)} trainings done"
        self._database.set_study_state(self._id, State.RUNNING, message=text, seconds=self._clock.seconds)


def _kept(rung: int, measured: Measured) -> Report:
    """A report of the engine as the store keeps it."""
    values = asdict(measured)
    gates = tuple(Gate(**gate) for gate in values.pop("gates"))
    return Report(rung=rung, gates=gates, **values)
