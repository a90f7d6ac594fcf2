"""What the store remembers, as plain frozen records: no SQL, no torch.

`selector` works on these very records, so nothing is converted between a
search and what is written down of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """State of a trial or a study; the words are Optuna's."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


class Request(StrEnum):
    """What a person wants of a study that is under way; whoever runs it obeys after the rung in flight."""

    PAUSE = "pause"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How far one gate of a mixture was open, over the validation split."""

    layer: int
    """Transformer layer from 0; -1 for the embeddings."""
    module: str
    """Name of the method behind the gate, such as lora."""
    role: str
    """Where in the layer it sits, such as query."""
    mean: float
    """In (0, 1); near 0 the module adds nothing. NaN when training diverged."""
    deviation: float
    """Standard deviation over the examples."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured of one trial at the end of one rung."""

    rung: int
    """Position in the bracket's plan, from 0."""
    epochs: float
    """Epochs trained so far; a rung may end inside one, such as after 0.25."""
    metrics: Mapping[str, float]
    """Name -> value on the validation split."""
    train_loss: float
    """Mean training loss over what was seen of the last epoch; NaN or infinite when training diverged."""
    seconds: float
    """Device seconds that this trial used so far: its share of its stack."""
    gates: tuple[Gate, ...] = ()
    """Empty for a method without gates, and for reports from before gates were kept."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration with one seed; once finished it never changes."""

    number: int
    """Position in the study, from 0."""
    method: str
    config: Mapping[str, Any]
    """Field -> value of the method's configuration; JSON values only."""
    seed: int
    state: State
    bracket: int | None = None
    repeat_of: int | None = None
    """Number of the trial whose configuration a finalist repeats; None for a trial of the search."""
    origin: str | None = None
    """Who proposed the configuration; None for repeats, and for trials from before this was kept."""
    trainable_parameters: int | None = None
    """Numbers that training may change, the head included."""
    stored_bytes: int | None = None
    """Size of the exported module, the head included."""
    reports: tuple[Report, ...] = ()
    test: Mapping[str, float] | None = None
    """Metrics on the test split; only finalists ever have them, once the choice stands."""
    module_file: str | None = None
    """Content hash of the trained module (safetensors)."""
    predictions_file: str | None = None
    """Content hash of the logits (safetensors: `validation`, and `test` for finalists)."""
    checkpoint_file: str | None = None
    """Content hash of where its training stands (safetensors); None before the first rung, for a finished
    trial, and where it would be too large."""
    latency: Mapping[str, Any] | None = None
    """Inference latency as `trainers.latency.Latency` writes itself; None where it was not measured."""
    training_bytes: int | None = None
    """Memory that training it alone takes beside the frozen backbone; None before it is trained, where it
    could not be told, and for trials from before this was kept."""
    message: str = ""
    """Why a trial failed or stopped early, in one line."""

    @property
    def epochs(self) -> float:
        """Epochs trained so far."""
        return self.reports[-1].epochs if self.reports else 0.0


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A row of the study that no search produced: majority, TF-IDF, linear probe."""

    name: str
    validation: Mapping[str, float]
    test: Mapping[str, float] = field(default_factory=dict)
    """Empty until the choice stands."""
    config: Mapping[str, Any] = field(default_factory=dict)
    trainable_parameters: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0
    module_file: str | None = None
    predictions_file: str | None = None
    latency: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Export:
    """A released export: its folder was reloaded and gave the trained logits."""

    trial: int | None
    """Number of the trial that trained the module; None for a baseline."""
    baseline: str | None
    format: str
    folder: str
    difference: float
    """Largest absolute difference between the logits of the reloaded and the trained module."""
    created: datetime


@dataclass(frozen=True, kw_only=True)
class Study:
    """One search: what was asked, what was tried, what came out."""

    id: int
    name: str
    state: State
    spec: Mapping[str, Any]
    """The request, as `selector.study.StudySpec` writes itself; JSON values only."""
    task: Mapping[str, Any]
    """Summary of the task: kind, metric, labels, rows per split, data hash, where splits come from,
    meta-features."""
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    seconds: float = 0.0
    """Wall-clock of the search so far."""
    message: str = ""
    """What the study is doing, or why it failed."""
    trials: tuple[Trial, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    recommendation: Mapping[str, Any] | None = None
    exports: tuple[Export, ...] = ()
    worker: str | None = None
    """Who runs it; None while nobody does. A worker that died without a word is still named."""
    request: Request | None = None
    """What it is asked to do; a study that waits with PAUSE is paused."""
    runs: tuple[Mapping[str, Any], ...] = ()
    """What asked for it and what ran it: a command, versions, the time; JSON values only."""
