"""A worker that looks scores up on a landscape instead of training, and says what that would have cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from zlib import crc32

import numpy as np
from tabulated import Landscape

from selector.halving import Standing, keep
from selector.jobs import BaselineResult, Baselines, Bracket, Entry, Job, Logits, Outcome, Result, Rung
from selector.space import key_of
from storage.records import State, Trial
from trainers.fidelity import Report
from trainers.method import MethodConfig
from trainers.naming import method_named
from trainers.splits import Split
from trainers.task import Task

BASELINES = {"majority": 0.5, "tfidf_logistic_regression": 0.55, "linear_probe": 0.6}
"""What the baselines score."""
LIKENESS = 0.7
"""Share of what makes a row hard that is the same for everyone who predicts it."""


def make_task(rows: int) -> Task:
    """Two labels, and so many rows in each split; texts that say nothing."""
    validation, test = _split("v", rows), _split("t", rows)
    return Task(
        name="table",
        kind="classification",
        text="text",
        text_pair=None,
        label="label",
        labels=("no", "yes"),
        metric="accuracy",
        train=_split("r", rows),
        validation=validation,
        test=test,
        origin={},
        data_hash="0",
    )


def _split(letter: str, rows: int) -> Split:
    return Split(tuple(f"{letter}{row}" for row in range(rows)), None, np.arange(rows) % 2)


def logits_with(score: float, split: Split, salt: list[int]) -> Logits:
    """Logits of one who is right on this share of all rows there could be; these are a sample of them.

    Hard rows are hard for everyone (`LIKENESS`), so that predictions of different candidates are paired
    as those of real ones are.
    """
    rows, stream = len(split), crc32(str(split.texts[0]).encode())
    shared = np.random.default_rng(stream).normal(size=rows)
    own = np.random.default_rng([*salt, stream]).normal(size=rows)
    hardness = math.sqrt(LIKENESS) * shared + math.sqrt(1 - LIKENESS) * own
    right = hardness < NormalDist().inv_cdf(min(max(score, 1e-9), 1 - 1e-9))
    return np.eye(2, dtype=np.float32)[np.where(right, split.labels, 1 - split.labels)]


def config_of(record: Trial | Entry) -> MethodConfig:
    """The configuration of a trial, or of a worker's entry."""
    values = record.values if isinstance(record, Entry) else record.config
    return method_named(record.method).from_values(values)


@dataclass
class TableWorker:
    """Performs jobs as `selector.work.Worker` does: rung by rung, cutting as the halving says."""

    landscape: Landscape
    task: Task
    now: Callable[[], float]
    """The simulated time."""
    sampled: bool
    """Whether scores are those on the validation rows, or exact."""

    def perform(self, job: Job) -> Iterator[tuple[float, Result]]:
        """Results as a worker gives them, each with the seconds that it took."""
        if isinstance(job, Baselines):
            yield from ((0.0, self._baseline(name, score)) for name, score in BASELINES.items())
            return
        entries, before = list(job.entries), job.rungs[job.begun - 1] if job.begun else 0
        for rung, epochs in list(enumerate(job.rungs))[job.begun :]:
            seconds = sum(self.landscape.epoch_seconds(config_of(e)) * (epochs - before) for e in entries)
            late = self.now() + seconds > job.allowance.deadline
            outcomes = self._rung(job, rung, entries, late)
            yield seconds, Rung(bracket=job.number, rung=rung, outcomes=tuple(outcomes.values()))
            entries = [e for e in entries if outcomes[e.number].state is State.RUNNING]
            before = epochs
            if not entries:
                return

    def _rung(self, job: Bracket, rung: int, entries: list[Entry], late: bool) -> dict[int, Outcome]:
        epochs = job.rungs[rung]
        tried = {e.number: self._train(e, epochs) for e in entries}
        reports = {number: found for number, found in tried.items() if isinstance(found, Report)}
        sound = [e for e in entries if e.number in reports and math.isfinite(reports[e.number].train_loss)]
        standings = [
            Standing(e.number, e.method, reports[e.number].metrics[job.metric], e.stored_bytes) for e in sound
        ]
        last = rung == len(job.rungs) - 1
        kept = {e.number for e in sound} if job.final else keep(rung, standings, len(job.rungs))
        outcomes = {}
        for entry in entries:
            found = tried[entry.number]
            if isinstance(found, str):
                outcomes[entry.number] = Outcome(number=entry.number, state=State.FAIL, message=found)
            elif entry not in sound:
                message = f"training diverged: the loss is nan after {epochs} epochs"
                outcomes[entry.number] = Outcome(
                    number=entry.number, state=State.FAIL, report=found, message=message
                )
            elif last:
                outcomes[entry.number] = self._complete(entry, found, test=job.final)
            else:
                state = State.RUNNING if entry.number in kept and not late else State.PRUNED
                outcomes[entry.number] = Outcome(number=entry.number, state=state, report=found)
        return outcomes

    def _train(self, entry: Entry, epochs: int) -> Report | str:
        """A report, or why there is none."""
        config, table = config_of(entry), self.landscape
        if message := table.fails(config):
            return message
        score, nan = table.score(config, epochs, entry.seed), table.diverges(config)
        if self.sampled:
            validation = self.task.validation
            score = self.task.metrics(validation, self._logits(entry, score, validation))["accuracy"]
        return Report(
            epochs=epochs,
            metrics={"accuracy": math.nan if nan else score},
            train_loss=math.nan if nan else 0.5 / epochs,
            seconds=epochs * table.epoch_seconds(config),
        )

    def _complete(self, entry: Entry, report: Report, *, test: bool) -> Outcome:
        score = self.landscape.score(config_of(entry), report.epochs, entry.seed)
        return Outcome(
            number=entry.number,
            state=State.COMPLETE,
            report=report,
            module=b"module",
            validation_logits=self._logits(entry, score, self.task.validation),
            test_logits=self._logits(entry, score, self.task.test) if test else None,
        )

    def _logits(self, entry: Entry, score: float, split: Split) -> Logits:
        # The same configuration and seed errs on the same rows at every rung, less and less.
        name = crc32(repr(key_of(config_of(entry))).encode())
        return logits_with(score, split, [name, entry.seed])

    def _baseline(self, name: str, score: float) -> BaselineResult:
        return BaselineResult(
            name=name,
            config={},
            validation_logits=logits_with(score, self.task.validation, [crc32(name.encode())]),
            test_logits=logits_with(score, self.task.test, [crc32(name.encode())]),
            trainable_parameters=0,
            stored_bytes=0,
            seconds=0.0,
        )
