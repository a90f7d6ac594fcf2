"""What is written down of a study: its trials, rungs, baselines, and the files that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from safetensors.numpy import save as save_arrays

from selector.jobs import BaselineResult, Logits, Outcome, Rung
from selector.meta_features import of_baselines
from storage.database import Database
from storage.errors import StorageError
from storage.files import Files
from storage.records import Baseline, Gate, Report, State, Trial
from trainers.fidelity import Report as Measured
from trainers.task import Task


class Recording:
    """The trials of a study as they stand in the store; each change is one transaction."""

    def __init__(self, database: Database, files: Files, study_id: int, task: Task) -> None:
        self._database = database
        self._files = files
        self._id = study_id
        self._task = task
        study = database.study(study_id)
        self.trials = {trial.number: trial for trial in study.trials}
        """By number, in order."""
        self.baselines = {baseline.name for baseline in study.baselines}

    def add(self, trials: Sequence[Trial]) -> None:
        """Write down new trials, all of them or none."""
        self._database.add_trials(self._id, trials)
        self.trials.update({trial.number: trial for trial in trials})

    def start(self, bracket: int, numbers: Sequence[int]) -> None:
        """The trials of a bracket are being trained."""
        self._database.start_trials(self._id, numbers, bracket)
        for number in numbers:
            self.trials[number] = replace(self.trials[number], state=State.RUNNING, bracket=bracket)

    def finish(self, numbers: Iterable[int], state: State, message: str) -> None:
        """End trials that gave no result."""
        for number in numbers:
            before = self.trials[number]
            self._database.finish_trial(self._id, number, state, message=message)
            self.trials[number] = replace(before, state=state, message=message, checkpoint_file=None)
            self._forget([before])

    def rung(self, rung: Rung) -> None:
        """Write down a rung of a bracket, all of it or nothing."""
        before = [self.trials[outcome.number] for outcome in rung.outcomes]
        after = [self._after(rung.rung, outcome) for outcome in rung.outcomes]
        self._database.record_rung(
            self._id,
            {o.number: t.reports[-1] for o, t in zip(rung.outcomes, after, strict=True) if o.report},
            {trial.number: trial.state for trial in after},
            {trial.number: trial.message for trial in after if trial.message},
            {outcome.number: outcome.latency for outcome in rung.outcomes if outcome.latency is not None},
            {trial.number: _found(trial) for trial in after},
        )
        self.trials.update({trial.number: trial for trial in after})
        self._forget(before)

    def _after(self, rung: int, outcome: Outcome) -> Trial:
        trial = self.trials[outcome.number]
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
            training_bytes=trial.training_bytes if outcome.training_bytes is None else outcome.training_bytes,
            module_file=None if outcome.module is None else self._files.put(outcome.module),
            predictions_file=None
            if logits is None
            else self._keep_logits(validation=logits, test=test, module=own),
            checkpoint_file=None if outcome.checkpoint is None else self._files.put(outcome.checkpoint),
        )

    def baseline(self, result: BaselineResult) -> None:
        """Write down a baseline, unless it is there already."""
        if result.name in self.baselines:
            return
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
        self.baselines.add(result.name)
        if result.features:
            known = self._database.study(self._id).baselines
            self._database.add_meta_features(
                self._id, {**result.features, **of_baselines(known, task.metric)}
            )

    def _keep_logits(self, **parts: Logits | None) -> str:
        return self._files.put(save_arrays({name: part for name, part in parts.items() if part is not None}))

    # ------------------------------------------------------------------------- checkpoints

    def checkpoint(self, trial: Trial) -> bytes | None:
        """Where the training of a trial stands; None where nothing was kept, or it is gone."""
        if trial.checkpoint_file is None:
            return None
        try:
            return self._files.path(trial.checkpoint_file).read_bytes()
        except (StorageError, OSError):
            return None

    def _forget(self, before: Iterable[Trial]) -> None:
        forget_checkpoints(self._database, self._files, before)


def forget_checkpoints(database: Database, files: Files, trials: Iterable[Trial]) -> None:
    """Delete the checkpoints that these trials had, as far as the store does not name them any more."""
    had = {trial.checkpoint_file for trial in trials if trial.checkpoint_file is not None}
    for name in had - database.files_in_use(had):
        files.remove(name)


def _found(trial: Trial) -> dict[str, Any]:
    """Columns that a rung fills in, beside its report."""
    return {
        "module_file": trial.module_file,
        "predictions_file": trial.predictions_file,
        "checkpoint_file": trial.checkpoint_file,
        "training_bytes": trial.training_bytes,
    }


def _kept(rung: int, measured: Measured) -> Report:
    """A report of the engine as the store keeps it."""
    values = asdict(measured)
    gates = tuple(Gate(**gate) for gate in values.pop("gates"))
    values.pop("best_epoch")  # a finished trial's message tells it
    return Report(rung=rung, gates=gates, **values)
