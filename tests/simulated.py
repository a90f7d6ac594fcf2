"""A study on simulated devices: time passes only in training, and learning curves are tabulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

import trainers.methods  # noqa: F401
from selector.allowance import Meter
from selector.budget import Clock
from selector.halving import Standing, keep, keep_best
from selector.jobs import BaselineResult, Baselines, Calibration, Job, Outcome, Result, Rung, Wait
from selector.search import Search
from selector.space import space_of
from selector.study import DataFile, StudySpec
from storage.database import open_database
from storage.files import Files
from storage.records import State, Study
from trainers.cost import Cost
from trainers.fidelity import Report
from trainers.method import METHODS, MethodConfig
from trainers.splits import Split
from trainers.task import Task

ROWS = 40
SPACE = space_of([METHODS[name] for name in ("adapter", "bitfit", "lora", "prefix", "unipelt")])
START = 1_700_000_000.0


def split() -> Split:
    return Split(tuple(map(str, range(ROWS))), None, np.arange(ROWS) % 2)


TASK = Task(
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
    labels, right = np.arange(ROWS) % 2, np.arange(ROWS) < round(accuracy * ROWS)
    return np.eye(2, dtype=np.float32)[np.where(right, labels, 1 - labels)]


@dataclass
class World:
    """What the machine is like, and what time it is."""

    paces: Mapping[str, float]
    """Method -> seconds of one epoch of one candidate."""
    calibrated: float
    """What the calibration says of that."""
    baseline_seconds: float = 2.0
    now: float = START
    rungs: list[float] = field(default_factory=list)
    """Seconds that each rung took."""
    messages: list[tuple[float, float, str]] = field(default_factory=list)
    """(time, device-seconds used, message of the study) after each result."""
    device_seconds: float = 0.0


def perform(job: Job, world: World, begin: float) -> Iterator[tuple[float, Result]]:
    """A worker: each result with the time at which it is there."""
    time = begin
    if isinstance(job, Baselines):
        yield time, Calibration(stacked=world.calibrated, alone=world.calibrated)
        for name in ("majority", "tfidf_logistic_regression", "linear_probe"):
            time += world.baseline_seconds / 3
            logits = logits_with(0.5)
            yield (
                time,
                BaselineResult(
                    name=name,
                    config={},
                    validation_logits=logits,
                    test_logits=logits,
                    trainable_parameters=0,
                    stored_bytes=0,
                    seconds=0.0,
                ),
            )
        return
    meter = Meter(job.allowance, clock=lambda: time)
    alive, used = list(job.entries), dict.fromkeys((e.number for e in job.entries), 0.0)
    for rung, (before, epochs) in enumerate(pairwise((0, *job.rungs))):
        meter.start()
        for entry in alive:
            used[entry.number] += world.paces[entry.method] * (epochs - before)
        took = sum(world.paces[entry.method] for entry in alive) * (epochs - before)
        time += took
        world.rungs.append(took)
        world.device_seconds += took
        meter.stop(len(alive) * (epochs - before))
        scores = {e.number: 0.5 + 0.4 * epochs / job.rungs[-1] - e.number / 1000 for e in alive}
        standings = [Standing(e.number, e.method, scores[e.number], 1.0) for e in alive]
        kept = keep_best(standings) if job.best_only else keep(rung, standings, len(job.rungs))
        if job.final:
            kept = {e.number for e in alive}
        last = rung == len(job.rungs) - 1
        late = not last and not meter.pays_for(len(kept) * (job.rungs[rung + 1] - epochs))
        outcomes = []
        for entry in alive:
            number = entry.number
            report = Report(
                epochs=epochs, metrics={"accuracy": scores[number]}, train_loss=0.1, seconds=used[number]
            )
            if last:
                logits = logits_with(scores[number])
                outcome = Outcome(
                    number=number,
                    state=State.COMPLETE,
                    report=report,
                    module=b"module",
                    validation_logits=logits,
                    test_logits=logits if job.final else None,
                )
            else:
                state = State.RUNNING if number in kept and not late else State.PRUNED
                outcome = Outcome(number=number, state=state, report=report)
            outcomes.append(outcome)
        yield time, Rung(bracket=job.number, rung=rung, outcomes=tuple(outcomes))
        alive = [] if late else [entry for entry in alive if entry.number in kept]
        if not alive:
            return


class Simulation:
    """A study in a fresh SQLite file on so many devices side by side."""

    def __init__(
        self, folder: Path, world: World, *, slots: int = 1, epochs: int = 8, **options: object
    ) -> None:
        self.world = world
        self.slots = slots
        self.database = open_database(f"sqlite:///{folder / 'study.db'}")
        # Full fine-tuning is trained only in worlds that know its pace.
        given = {"epochs": epochs, "full_finetuning": "full" in world.paces, **options}
        spec = StudySpec(train=DataFile(name="t.csv"), backbone="none", **given)  # type: ignore[arg-type]
        self.id = self.database.create_study("table", spec.to_json(), TASK.summary(), worker="test").id
        clock = Clock(spec.budget_seconds, started=START, now=lambda: world.now)
        files = Files(folder / "files")
        self.search = Search(self.database, files, self.id, TASK, SPACE, _cost, clock)

    @property
    def study(self) -> Study:
        return self.database.study(self.id)

    def run(self) -> None:
        """Events in the order of their time: a result is written down, or a place becomes free."""
        working: dict[int, tuple[Job, Iterator[tuple[float, Result]], float, Result | None]] = {}
        while True:
            for place in range(self.slots):
                if place not in working:
                    job = self.search.next_job(self.slots)
                    if job is None or isinstance(job, Wait):
                        break
                    results = perform(job, self.world, self.world.now)
                    working[place] = (job, results, *next(results))
            if not working:
                return
            place = min(working, key=lambda one: working[one][2])
            job, results, self.world.now, result = working[place]
            if result is None:
                del working[place]
                self.search.ended(job)
                continue
            self.search.record(job, result)
            used = sum(trial.reports[-1].seconds for trial in self.study.trials if trial.reports)
            self.world.messages.append((self.world.now, used, self.study.message))
            working[place] = (job, results, *next(results, (self.world.now, None)))

    @property
    def seconds(self) -> float:
        return self.world.now - START


def _cost(config: MethodConfig) -> Cost:
    return Cost(module_parameters=100, deployed_parameters=100, head_parameters=10)
