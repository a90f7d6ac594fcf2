"""A study without torch's slowness: a table of learning curves stands in for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import trainers.methods  # noqa: F401
from selector.budget import Clock
from selector.halving import Standing, keep, keep_best
from selector.jobs import BaselineResult, Baselines, Job, Outcome, Result, Rung, Wait
from selector.search import Search
from selector.space import space_of
from selector.study import DataFile, StudySpec
from storage.database import Database, open_database
from storage.files import Files
from storage.records import State, Study
from trainers.cost import Cost
from trainers.fidelity import Gate, Report
from trainers.method import METHODS, MethodConfig
from trainers.metrics import metrics_of
from trainers.splits import Split
from trainers.task import Task

CLASSES, ROWS = 2, 40
FULL = {1e-5: 0.6, 3e-5: 0.8, 1e-4: 0.7}
"""Learning rate of full fine-tuning -> its accuracy."""
FULL_SECONDS = 4.0
"""Of an epoch of full fine-tuning; one of any other method takes a second."""


def split(rows: int = ROWS) -> Split:
    return Split(tuple(map(str, range(rows))), None, np.arange(rows) % CLASSES)


def make_task() -> Task:
    return Task(
        name="table",
        kind="classification",
        text="text",
        text_pair=None,
        label="label",
        labels=("no", "yes"),
        metric="accuracy",
        train=split(),
        validation=split(),
        test=split(),
        origin={},
        data_hash="0",
    )


def logits_with(accuracy: float) -> np.ndarray:
    """Logits that are right on this share of the rows."""
    labels = np.arange(ROWS) % CLASSES
    right = np.arange(ROWS) < round(accuracy * ROWS)
    return np.eye(CLASSES, dtype=np.float32)[np.where(right, labels, 1 - labels)]


def gate_after(epochs: int) -> Gate:
    """A gate that opens with the epochs."""
    return Gate(layer=3, module="lora", role="query", mean=epochs / 16, deviation=0.125)


class Table:
    """Trains by looking up: the score grows with the learning rate and the epochs."""

    def __init__(self, *, diverging: str | None = None, checkpoints: bool = False) -> None:
        self.diverging = diverging
        self.checkpoints = checkpoints
        self.trained: list[int] = []
        self.begun: list[tuple[int, int]] = []
        """Brackets, and after how many rungs they went on."""

    def perform(self, job: Job) -> Iterator[Result]:
        if isinstance(job, Baselines):
            for name in ("majority", "tfidf_logistic_regression", "linear_probe"):
                yield BaselineResult(
                    name=name,
                    config={},
                    validation_logits=logits_with(0.5),
                    test_logits=logits_with(0.5),
                    trainable_parameters=0,
                    stored_bytes=0,
                    seconds=0.0,
                    features={"separation": 0.25} if name == "linear_probe" else {},
                )
            return
        entries = list(job.entries)
        self.begun.append((job.number, job.begun))
        for rung, epochs in list(enumerate(job.rungs))[job.begun :]:
            last = rung == len(job.rungs) - 1
            reports = {e.number: self._report(e.method, e.values["learning_rate"], epochs) for e in entries}
            standings = [
                Standing(
                    number=e.number, method=e.method, score=reports[e.number].metrics["accuracy"], cost=1.0
                )
                for e in entries
            ]
            kept = keep_best(standings) if job.best_only else keep(rung, standings, len(job.rungs))
            if job.final:
                kept = {e.number for e in entries}
            outcomes = []
            for e in entries:
                report = reports[e.number]
                if not np.isfinite(report.train_loss):
                    outcomes.append(
                        Outcome(number=e.number, state=State.FAIL, report=report, message="diverged")
                    )
                elif last:
                    self.trained.append(e.number)
                    logits = logits_with(report.metrics["accuracy"])
                    test = logits if job.final else None
                    outcomes.append(
                        Outcome(
                            number=e.number,
                            state=State.COMPLETE,
                            report=report,
                            module=b"module" if e.keep_module else None,
                            validation_logits=logits,
                            test_logits=test,
                        )
                    )
                else:
                    state = State.RUNNING if e.number in kept else State.PRUNED
                    stands = f"checkpoint of {e.number} at {rung}".encode()
                    checkpoint = stands if self.checkpoints and state is State.RUNNING else None
                    outcomes.append(
                        Outcome(number=e.number, state=state, report=report, checkpoint=checkpoint)
                    )
            yield Rung(bracket=job.number, rung=rung, outcomes=tuple(outcomes))
            entries = [e for e, o in zip(entries, outcomes, strict=True) if o.state is State.RUNNING]
            if not entries:
                return

    def _report(self, method: str, learning_rate: float, epochs: int) -> Report:
        if method == self.diverging:
            loss = float("nan")
            return Report(
                epochs=epochs,
                metrics=metrics_of(logits_with(0) * np.nan, np.arange(ROWS) % 2),
                train_loss=loss,
                seconds=1.0,
            )
        start = FULL[learning_rate] if method == "full" else min(1.0, 0.5 + 20 * learning_rate)
        accuracy = start * (0.8 + 0.2 * epochs / 8)
        report = metrics_of(logits_with(accuracy), np.arange(ROWS) % CLASSES)
        gates = (gate_after(epochs),) if method == "unipelt" else ()
        seconds = float(epochs) * (FULL_SECONDS if method == "full" else 1.0)
        return Report(epochs=epochs, metrics=report, train_loss=0.1, seconds=seconds, gates=gates)


SPACE = space_of([METHODS[name] for name in ("adapter", "bitfit", "lora", "prefix", "unipelt")])


class Store:
    """Studies in a fresh SQLite file, one at a time."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.database: Database = open_database(f"sqlite:///{folder / 'study.db'}")
        self.files = Files(folder / "files")
        self.again("table", **options)

    def again(self, name: str, **options: object) -> None:
        """Another study in the same file."""
        # Most stories count trials: they ask for full fine-tuning and more finalists when they want them.
        given = {"epochs": 8, "trials": 12, "finalists": 3, "full_finetuning": False, **options}
        spec = StudySpec(train=DataFile(name="t.csv"), backbone="none", **given)  # type: ignore[arg-type]
        self.id = self.database.create_study(name, spec.to_json(), make_task().summary(), worker="test").id

    def search(
        self,
        clock: Clock | None = None,
        no_full: str = "",
        *,
        on: Any = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Search:
        return Search(
            on or self.database,
            self.files,
            self.id,
            make_task(),
            SPACE,
            cost,
            clock or Clock(None),
            no_full=no_full,
            stopping=stopping,
        )

    @property
    def study(self) -> Study:
        return self.database.study(self.id)


def cost(config: MethodConfig) -> Cost:
    return Cost(module_parameters=100, deployed_parameters=100, head_parameters=10)


def run(search: Search, table: Table, *, stop_after: int | None = None) -> int:
    """The local loop; with `stop_after`, dies after so many results. Returns how many there were."""
    results = 0
    while (job := search.next_job(slots=1)) is not None:
        assert not isinstance(job, Wait)
        for result in table.perform(job):
            search.record(job, result)
            results += 1
            if results == stop_after:
                return results
        search.ended(job)
    return results
