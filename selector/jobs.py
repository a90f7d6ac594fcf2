"""What a worker is given and what it gives back: plain records that travel between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.records import State
from trainers.fidelity import Report
from trainers.task import Task

Logits = NDArray[np.float32]
"""`[rows, classes]`, `[words, classes]` or `[rows, 1]`, by kind of task."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a worker loads once and keeps for all jobs of a study."""

    study: int
    task: Task
    backbone: str
    dtype: str = "auto"
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A trial as a worker sees it."""

    number: int
    method: str
    values: Mapping[str, Any]
    seed: int
    """Initialises the module and the head."""
    stored_bytes: int
    """Of two trials with equal scores the smaller one goes on."""
    keep_module: bool = True
    """Whether the trained module comes back; of full fine-tuning one is enough."""


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """Trials that start together, see the same data in the same order, and are halved at rungs."""

    number: int
    entries: tuple[Entry, ...]
    rungs: tuple[int, ...]
    """Epochs at which the trials are scored; the last is a whole training."""
    metric: str
    order_seed: int
    """Orders the training data."""
    final: bool = False
    """Finalists: nobody is cut, and the test split is predicted at the end."""
    best_only: bool = False
    """After each rung only the best goes on."""
    deadline: float | None = None
    """Time (seconds since the epoch) after which no further rung is started."""


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """The job of scoring what needs no training: the baselines of the task's kind, and the linear probe."""

    seed: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a rung meant for one trial."""

    number: int
    state: State
    report: Report | None = None
    module: bytes | None = None
    """The trained module; only when the trial is complete, and only if it is to be kept."""
    validation_logits: Logits | None = None
    test_logits: Logits | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The outcomes of one rung of one bracket."""

    bracket: int
    rung: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, kw_only=True)
class BaselineResult:
    """One baseline, scored."""

    name: str
    config: Mapping[str, Any]
    validation_logits: Logits
    test_logits: Logits
    trainable_parameters: int
    stored_bytes: int
    seconds: float
    module: bytes | None = None


Job = Bracket | Baselines
Result = Rung | BaselineResult


class Wait:
    """There is no job now, but there will be one when running jobs have ended."""


class JobSource(Protocol):
    """Where a runner gets its jobs and leaves what came of them; called by one thread only."""

    def next_job(self, slots: int) -> Job | Wait | None:
        """A job to start now; `slots` jobs can run side by side. None: no further job will come."""

    def record(self, job: Job, result: Result) -> None:
        """Write down one result of a running job."""

    def ended(self, job: Job, failure: str | None = None) -> None:
        """The job gives no more results; `failure` says why when it broke off."""


class Runner(Protocol):
    """A way to run jobs: in this process, or on a Ray cluster."""

    def run(self, source: JobSource, bench: Bench) -> None:
        """Work off all jobs of a source."""
