"""What a worker is given and what it gives back: plain records that travel between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selector.allowance import Allowance
from selector.limits import NO_LIMITS, Limits
from storage.records import State, Trial
from trainers.fidelity import Report
from trainers.task import Task

Logits = NDArray[np.float32]
"""`[rows, classes]`, `[words, classes]` or `[rows, 1]`, by kind of task."""

EARLY_STOPPING = "early stopping: "
"""So begins the message of a trial that is scored as it was before its last epoch."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a worker loads once and keeps for all jobs of a study."""

    study: int
    task: Task
    backbone: str
    dtype: str = "auto"
    device: str = "auto"
    truncation: str = "head"
    head: str = "mean"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A trial as a worker sees it."""

    number: int
    method: str
    values: Mapping[str, Any]
    seed: int
    """Initialises the module and the head."""
    stored_bytes: int
    """Of two trials with equal scores and losses the smaller one goes on."""
    parameters: int = 0
    """Trained numbers."""
    checkpoint: bytes | None = None
    """Where its training stands; None: it begins from its seed."""
    latency: Mapping[str, Any] | None = None
    """Of a trial that is taken up again, as it was measured before."""
    training_bytes: int | None = None
    """Memory that training it takes, likewise."""
    time: bool = True
    """Whether the latency of a finalist is measured behind its training; one seed's is enough."""
    keep_module: bool = True
    """Whether the trained module comes back; of full fine-tuning one is enough."""

    @classmethod
    def of(cls, trial: Trial) -> Entry:
        """A trial as it is stored, to be trained from its seed."""
        return cls(
            number=trial.number,
            method=trial.method,
            values=trial.config,
            seed=trial.seed,
            stored_bytes=trial.stored_bytes or 0,
            parameters=trial.trainable_parameters or 0,
            latency=trial.latency,
            training_bytes=trial.training_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """Trials that start together, see the same data in the same order, and are halved at rungs."""

    number: int
    entries: tuple[Entry, ...]
    rungs: tuple[float, ...]
    """Epochs at which the trials are scored; the last is a whole training."""
    metric: str
    order_seed: int
    """Orders the training data."""
    final: bool = False
    """Finalists: nobody is cut, and the test split is predicted at the end."""
    best_only: bool = False
    """After each rung only the best goes on."""
    patience: int | None = None
    """Epochs without a better validation score after which a trial stops; None: it is trained to the end."""
    allowance: Allowance = Allowance()
    """What it may spend: no rung is started that would not fit."""
    objectives: tuple[str, ...] = ("metric",)
    """What is cut by."""
    limits: Limits = NO_LIMITS
    """Modules beyond the limit on latency are not trained; those on sizes were heeded before."""
    begun: int = 0
    """Rungs that are done: a bracket that was interrupted goes on behind them."""
    left: tuple[Entry, ...] = ()
    """Of a bracket that goes on, those that have left it: they tell who stood beside whom in a stack."""

    @property
    def timed(self) -> bool:
        """Whether each module's latency is measured before it is trained."""
        return not self.final and (self.limits.on_latency or "latency" in self.objectives)


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """The job of scoring what needs no training: the baselines of the task's kind, and the linear probe.

    It comes first, so it also finds out how fast a module trains here.
    """

    seed: int
    rungs: tuple[float, ...] = ()
    """Of the brackets to come; empty where no calibration is asked for."""


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
    module_logits: Logits | None = None
    """With folds, what the module itself gives on the validation rows; else that is `validation_logits`."""
    latency: Mapping[str, Any] | None = None
    """As `trainers.latency.Latency` writes itself; None where it was not measured now."""
    training_bytes: int | None = None
    """As `trainers.step_memory` tells; None after the first rung, or where it cannot be told."""
    message: str = ""
    checkpoint: bytes | None = None
    """Where the training of a trial that goes on stands; None where it cannot be told or is too large."""


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
    module_logits: Logits | None = None
    """As of an `Outcome`."""
    latency: Mapping[str, Any] | None = None
    features: Mapping[str, float] = field(default_factory=dict)
    """Meta-features of the task that came to light on the way."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How fast a small module trains here, measured on a few steps before anything is searched.

    Device-seconds of one epoch of one candidate, its share of a score included.
    """

    stacked: float
    """In a stack of several, each."""
    alone: float


Job = Bracket | Baselines


def title(job: Job) -> str:
    """A job as a log names it."""
    if isinstance(job, Baselines):
        return "the baselines"
    return f"bracket {job.number} (trials {', '.join(str(entry.number) for entry in job.entries)})"


Result = Rung | BaselineResult | Calibration


class Wait:
    """There is no job now, but there will be one when running jobs have ended."""


class JobSource(Protocol):
    """Where a runner gets its jobs and leaves what came of them; called by one thread only."""

    @property
    def stopping(self) -> bool:
        """Whether running jobs are to be left after their next result; then `next_job` gives no more."""

    def next_job(self, slots: int) -> Job | Wait | None:
        """A job to start now; `slots` jobs can run side by side. None: no further job will come."""

    def record(self, job: Job, result: Result) -> None:
        """Write down one result of a running job."""

    def ended(self, job: Job, failure: str | None = None, *, lost: bool = False) -> None:
        """The job gives no more results; `failure` says why when it broke off.

        `lost` when its worker is gone, which says nothing against the job: it may be given out again. A job
        that was left because of `stopping` ends without a failure.
        """


class Runner(Protocol):
    """A way to run jobs: in this process, or on a Ray cluster."""

    def run(self, source: JobSource, bench: Bench) -> None:
        """Work off all jobs of a source."""
