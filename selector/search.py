"""The search: propose configurations, write down their rungs, repeat the best with fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from safetensors.numpy import save as save_arrays

from selector import full_finetuning
from selector.allowance import Allowance
from selector.budget import Clock
from selector.estimate import estimate
from selector.finalists import Finals, choose_finalists, plan_finals
from selector.fitting import Fit, unlimited
from selector.full_finetuning import proposed
from selector.halving import Plan, plan
from selector.jobs import (
    BaselineResult,
    Baselines,
    Bracket,
    Calibration,
    Entry,
    Job,
    Logits,
    Outcome,
    Result,
    Rung,
    Wait,
)
from selector.ledger import Ledger
from selector.limits import NO_LIMITS, Limits
from selector.meta_features import of_baselines
from selector.prior import Suggestion, open_places, origin_of, similar_studies, suggest
from selector.samplers import USUAL_OBJECTIVES, propose
from selector.space import Space
from selector.study import INTERRUPTED, StudySpec
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
        limits: Limits = NO_LIMITS,
        fit: Fit = unlimited,
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
        self._limits = limits
        self._fit = fit
        database.fail_running_trials(study_id, INTERRUPTED)
        study = database.study(study_id)
        self._spec = StudySpec.from_json(study.spec)
        self._trials = {trial.number: trial for trial in study.trials}
        self._baselines = {baseline.name for baseline in study.baselines}
        self._baselines_started = len(self._baselines) == BASELINES
        self._brackets = 1 + max((t.bracket for t in study.trials if t.bracket is not None), default=-1)
        self._running: list[Job] = []
        self._slots = 1
        spent = sum(baseline.seconds for baseline in study.baselines if baseline.module_file is not None)
        self._ledger = Ledger(clock, self._spec, self._trials, spent)
        self._finals: list[Bracket] | None = None
        self._used_up = False
        self.left_out = no_full if self._spec.full_finetuning else "it was not asked for"
        """Why full fine-tuning is not compared; empty as long as it is."""

    # ------------------------------------------------------------------------- giving out

    def next_job(self, slots: int) -> Job | Wait | None:
        """The next job: the baselines, brackets of the search, among them full fine-tuning, the finalists."""
        job: Job | Wait | None
        self._slots = slots
        if not self._baselines_started:
            self._baselines_started = True
            job = Baselines(seed=self._spec.seed, rungs=self._next_plan(slots).rungs)
        elif self._ledger.limited and self._ledger.pace() is None and self._scoring_baselines():
            job = Wait()  # for the calibration: without a pace a budget cannot be kept
        elif self._full_is_due(slots, over=False):
            job = self._full_bracket()
        elif trials := self._proposals(slots):
            rungs = self._next_plan(slots).rungs
            job = self._bracket(trials, rungs=rungs, deadline=self._clock.search_deadline)
        elif self._full_is_due(slots, over=True):
            job = self._full_bracket()
        elif self._running and self._finals is None:
            job = Wait()
        else:
            if self._finals is None:
                self._finals = self._plan_finals(slots)
            job = self._next_final()
        if isinstance(job, Bracket):
            self._database.start_trials(self._id, [entry.number for entry in job.entries], job.number)
            for entry in job.entries:
                self._trials[entry.number] = replace(
                    self._trials[entry.number], state=State.RUNNING, bracket=job.number
                )
        if not isinstance(job, Wait):  # a runner asks again and again, and nothing has changed
            self._running += [] if job is None else [job]
            self._tell_progress()
        return job

    def _searched(self) -> list[Trial]:
        return [
            t for t in self._trials.values() if proposed(t, self._spec.methods) and t.message != INTERRUPTED
        ]

    def _to_propose(self) -> int:
        return self._spec.trials - len(self._searched())

    @property
    def note(self) -> str:
        """What is to be said of a search that ended before all trials were tried; usually nothing."""
        tried = len(self._searched())
        held = f"the space holds no more than the {tried} configurations that were tried"
        return held if self._used_up else ""

    def _scoring_baselines(self) -> bool:
        return any(isinstance(job, Baselines) for job in self._running) and len(self._baselines) < BASELINES

    def _next_plan(self, slots: int) -> Plan:
        """Small enough that every place gets a bracket, large enough that cutting means something."""
        share = max(SMALLEST_BRACKET, -(-self._spec.trials // slots))
        turn = len({trial.bracket for trial in self._searched()} - {None})
        return plan(self._spec.epochs, min(self._spec.bracket_size, share), self._spec.early_exit, turn)

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
        everything = [t for t in self._trials.values() if proposed(t, self._spec.methods)]
        configs = self._ask(everything, count, suggested) or self._ask(self._searched(), count, suggested)
        self._used_up = len(configs) < count
        return [
            self._add(config, self._spec.seed, origin=origin_of(config, self._space, suggested))
            for config in configs
        ]

    def _ask(
        self, trials: Sequence[Trial], count: int, suggested: Sequence[Suggestion]
    ) -> list[MethodConfig]:
        objectives = self._spec.objectives
        if len(objectives) == 1:
            objectives = USUAL_OBJECTIVES.get(self._spec.sampler, objectives)
        try:
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
        except ValueError as error:  # every method keeps failing
            raise SearchError(str(error)) from None

    def _suggested(self) -> list[Suggestion]:
        """What the memory may add: nothing once its places are taken."""
        places = open_places(self._searched(), self._spec.trials) if self._spec.memory else 0
        if not places:
            return []
        study = self._database.study(self._id)
        return suggest(study, similar_studies(self._database, study), self._space, places)

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
            return self._brackets > 0
        if not (over or self._ledger.halfway) or not any(trial.reports for trial in self._searched()):
            return False
        pace, room = self._ledger.pace_of_full(), self._ledger.room(slots, self._brackets_running())
        self.left_out = full_finetuning.too_long(self._full_plan().rungs[0], pace or 0.0, room)
        return not self.left_out

    def _full_plan(self) -> Plan:
        return plan(self._spec.epochs, len(full_finetuning.LEARNING_RATES), self._spec.early_exit)

    def _full_bracket(self) -> Bracket:
        kind = method_named(full_finetuning.METHOD)
        rates = full_finetuning.untried(self._trials.values())
        trials = [self._add(kind.from_values({"learning_rate": rate}), self._spec.seed) for rate in rates]
        rungs, deadline = self._full_plan().rungs, self._clock.search_deadline
        return self._bracket(trials, rungs=rungs, deadline=deadline, best_only=True)

    def _add(
        self, config: MethodConfig, seed: int, repeat_of: int | None = None, origin: str | None = None
    ) -> Trial:
        cost = self._cost(config)
        trial = Trial(
            number=len(self._trials),
            method=config.name,
            config=config.values(),
            seed=seed,
            state=State.WAITING,
            repeat_of=repeat_of,
            origin=origin,
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
                parameters=trial.trainable_parameters or 0,
                keep_module=full_finetuning.keeps_module(trial, self._trials.values()),
            )
            for trial in trials
        ]
        allowance = Allowance()
        if not final:
            allowance = self._ledger.grant(self._brackets, self._slots, self._brackets_running())
            allowance = replace(allowance, deadline=math.inf if deadline is None else deadline)
        self._brackets += 1
        return Bracket(
            number=self._brackets - 1,
            entries=tuple(entries),
            rungs=rungs,
            metric=self._task.metric,
            order_seed=trials[0].seed,
            final=final,
            best_only=best_only,
            patience=self._spec.patience,
            allowance=allowance,
            objectives=self._spec.objectives,
            limits=self._limits,
        )

    def _plan_finals(self, slots: int) -> list[Bracket]:
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
        """The next repeats that the budgets pay for; those that they do not are given up."""
        assert self._finals is not None
        while self._finals:
            bracket = self._finals.pop(0)
            if self._ledger.pays_for(bracket, self._brackets_running()):
                return bracket
            message = (
                f"the budget does not pay for it: it takes about {self._ledger.final_seconds(bracket):.0f} s"
            )
            for number in (entry.number for entry in bracket.entries):
                self._database.finish_trial(self._id, number, State.PRUNED, message=message)
                self._trials[number] = replace(self._trials[number], state=State.PRUNED, message=message)
        return None

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
        if isinstance(result, Calibration):
            self._ledger.calibration = result
        elif isinstance(result, BaselineResult):
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
                predictions_file=self._keep_logits(
                    validation=result.validation_logits, test=result.test_logits, module=result.module_logits
                ),
                latency=result.latency,
            ),
        )
        self._baselines.add(result.name)
        self._ledger.baseline_seconds += 0.0 if result.module is None else result.seconds
        if result.features:
            known = self._database.study(self._id).baselines
            self._database.add_meta_features(
                self._id, {**result.features, **of_baselines(known, task.metric)}
            )

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
            {outcome.number: outcome.latency for outcome in rung.outcomes if outcome.latency is not None},
        )
        for trial in complete:
            self._database.finish_trial(
                self._id,
                trial.number,
                State.COMPLETE,
                message=trial.message or None,
                module_file=trial.module_file,
                predictions_file=trial.predictions_file,
            )
        self._trials.update({trial.number: trial for trial in trials})

    def _after(self, rung: int, outcome: Outcome) -> Trial:
        trial = self._trials[outcome.number]
        reports = trial.reports
        if outcome.report is not None:
            reports += (_kept(rung, outcome.report),)
        logits, test, own = outcome.validation_logits, outcome.test_logits, outcome.module_logits
        return replace(
            trial,
            state=outcome.state,
            reports=reports,
            message=outcome.message,
            latency=trial.latency if outcome.latency is None else outcome.latency,
            module_file=None if outcome.module is None else self._files.put(outcome.module),
            predictions_file=None
            if logits is None
            else self._keep_logits(validation=logits, test=test, module=own),
        )

    def _keep_logits(self, **parts: Logits | None) -> str:
        return self._files.put(save_arrays({name: part for name, part in parts.items() if part is not None}))

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
        text = text if coming is None else f"{text}; {coming}"
        self._database.set_study_state(self._id, State.RUNNING, message=text, seconds=self._clock.seconds)


def _kept(rung: int, measured: Measured) -> Report:
    """A report of the engine as the store keeps it."""
    values = asdict(measured)
    gates = tuple(Gate(**gate) for gate in values.pop("gates"))
    values.pop("best_epoch")  # a finished trial's message tells it
    return Report(rung=rung, gates=gates, **values)
