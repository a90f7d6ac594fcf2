"""A whole search on a tabulated objective: `selector.search.Search` with workers that look scores up.

    run = simulate(TREE, trials=32, sampler="random", seed=3)
    TREE.expected(run.best, run.spec.epochs)

Time is simulated, too: rungs take what the landscape says, several workers work side by side, and a
budget ends where it would. A thousand epochs cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from memory_store import MemoryDatabase, MemoryFiles
from table_worker import TableWorker, config_of, make_task
from tabulated import Landscape

from selector.budget import SEARCH_SHARE
from selector.jobs import Baselines, Bracket, Job, Result
from selector.narrowed import narrowed
from selector.search import Search
from selector.study import DataFile, StudySpec
from storage.records import State, Study, Trial
from trainers.method import MethodConfig
from trainers.task import Task


def simulate(
    landscape: Landscape,
    *,
    rows: int = 200,
    sampled: bool = False,
    slots: int = 1,
    stop_after: int | None = None,
    **asked: Any,
) -> Simulation:
    """Search a landscape with a request such as `trials=32, epochs=8, sampler="random", budget_seconds=500`.

    Scores are exact unless `sampled`; then they are those on `rows` validation rows.
    """
    # A landscape has no full fine-tuning to look up.
    given = {"memory": False, "full_finetuning": False, **asked}
    spec = StudySpec(train=DataFile(name="table.csv"), backbone="none", **given)
    task = make_task(rows)
    database = MemoryDatabase(spec.to_json(), task.summary())
    clock = SimulatedClock(spec.budget_seconds)
    simulation = Simulation(landscape, spec, task, clock, database, sampled)
    return simulation.run(slots, stop_after)


@dataclass
class SimulatedClock:
    """`selector.budget.Clock` with a time of its own."""

    budget_seconds: float | None = None
    seconds: float = 0.0

    def now(self) -> float:
        return self.seconds

    @property
    def search_deadline(self) -> float | None:
        return None if self.budget_seconds is None else SEARCH_SHARE * self.budget_seconds

    @property
    def searching(self) -> bool:
        return self.search_deadline is None or self.seconds < self.search_deadline

    @property
    def remaining(self) -> float:
        return math.inf if self.budget_seconds is None else self.budget_seconds - self.seconds


@dataclass
class Simulation:
    """A study on a landscape; `run` works it off, and may be called again after it was stopped."""

    landscape: Landscape
    spec: StudySpec
    task: Task
    clock: SimulatedClock
    database: MemoryDatabase
    sampled: bool = False
    note: str = ""
    """What the search said when it ended."""
    files: MemoryFiles = field(default_factory=MemoryFiles)

    def run(self, slots: int = 1, stop_after: int | None = None) -> Simulation:
        """Work off all jobs, `slots` side by side; with `stop_after`, die after so many results."""
        space = narrowed(self.landscape.space, self.spec.narrowing)
        search: Any = Search(
            self.database,
            self.files,
            1,
            self.task,
            space,
            self.landscape.cost,
            self.clock,  # type: ignore[arg-type]
        )
        worker = TableWorker(self.landscape, self.task, lambda: self.clock.seconds, self.sampled)
        places: list[_Place] = []
        results = 0
        while True:
            while len(places) < slots and isinstance(job := search.next_job(slots), Bracket | Baselines):
                places.append(_Place(job, worker.perform(job), self.clock.seconds))
                places[-1].work()
            if not places:
                self.note = search.note
                return self
            place = min(places, key=lambda one: one.ready)
            self.clock.seconds = place.ready
            if place.result is None:
                search.ended(place.job)
                places.remove(place)
                continue
            search.record(place.job, place.result)
            results += 1
            if results == stop_after:
                return self
            place.work()

    @property
    def study(self) -> Study:
        return self.database.study(1)

    @property
    def searched(self) -> list[Trial]:
        """The trials of the search, without the finalists' repeats."""
        return [trial for trial in self.study.trials if trial.repeat_of is None]

    @property
    def configs(self) -> list[MethodConfig]:
        """What was proposed, in order."""
        return [config_of(trial) for trial in self.searched]

    @property
    def best(self) -> MethodConfig:
        """The configuration that won the search: the highest score among those trained to the end."""
        whole = [trial for trial in self.searched if trial.state is State.COMPLETE]
        return config_of(max(whole, key=lambda trial: trial.reports[-1].metrics[self.task.metric]))

    @property
    def device_seconds(self) -> float:
        """What all trials have used together."""
        return sum(trial.reports[-1].seconds for trial in self.study.trials if trial.reports)


@dataclass
class _Place:
    """A worker at work: its next result, and when that will be there."""

    job: Job
    results: Iterator[tuple[float, Result]]
    ready: float
    result: Result | None = None

    def work(self) -> None:
        seconds, self.result = next(self.results, (0.0, None))
        self.ready += seconds
