"""What a study is asked to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from selector.halving import EARLY_EXITS, EarlyExit
from selector.limits import Limits, limits_of
from selector.objectives import METRIC, check_objectives
from selector.placement import Wanted, check_address
from storage.records import Study as Study


class RequestError(ValueError):
    """The user asked for something that cannot be done; the message is shown as it is."""


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file kept by its content."""

    name: str
    """File name as given, without folders; shown to people and read for its ending only."""
    sha256: str = ""
    """Hash of the content; empty until the file is kept."""


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """One request: the data, the backbone, what to search, and how much to spend."""

    train: DataFile
    validation: DataFile | None = None
    test: DataFile | None = None
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    task: str | None = None
    metric: str | None = None
    backbone: str
    methods: tuple[str, ...] | None = None
    """Names of the methods to search; None: the usual ones."""
    narrowing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is left of the space: method or `all` -> field -> a value, a list of values, or
    `{"low": ..., "high": ...}`; see selector/narrowing.py."""
    sampler: str = "tpe"
    trials: int = 16
    """Configurations to try; the repeats of finalists come on top."""
    epochs: int = 10
    """Length of a whole training."""
    patience: int | None = None
    """Epochs without a better validation score after which a training stops; None: no early stopping."""
    budget_seconds: float | None = None
    """Wall-clock for everything; None: until all trials are done."""
    device_seconds: float | None = None
    """Device time for everything, summed over devices; None: likewise."""
    objectives: tuple[str, ...] = ("metric",)
    """What is searched for: the metric, alone or with costs (`selector.objectives`)."""
    max_parameters: str | None = None
    """Most trained parameters of a module, as given: 120000, or 0.5% of the backbone's."""
    max_bytes: str | None = None
    """Most stored bytes of a module, as given: 2MB."""
    max_latency: str | None = None
    """Longest time for one text, as given: 20ms, or 1.2x the plain backbone's."""
    seeds: int = 3
    """Fresh seeds with which each finalist is repeated."""
    finalists: int = 5
    """Configurations that are repeated, spread over methods; full fine-tuning comes on top."""
    full_finetuning: bool = True
    """Whether full fine-tuning is trained as a baseline."""
    bracket_size: int = 8
    """Configurations that start together and are halved against each other."""
    early_exit: EarlyExit = "halving"
    """When poor configurations stop: halving, hyperband or none."""
    train_rows: int | None = None
    folds: int | None = None
    """Folds of the training rows in place of a validation split; 1: none; None: where there are few rows."""
    seed: int = 0
    dtype: str = "auto"
    """How the frozen weights are held: auto, fp32, bf16, 8bit or 4bit."""
    head: str = "mean"
    """What reads the last layer: mean, or native, which is that of the family's own classifier."""
    truncation: str = "head"
    """What is kept of a text that is too long: head, or head+tail."""
    runner: str = "ray"
    address: str | None = None
    """A Ray cluster that is joined: HOST:PORT, or auto; None: a Ray of its own on this machine."""
    workers: int | None = None
    """Brackets side by side; None: as many as there is room for."""
    cpus_per_worker: int | None = None
    gpus_per_worker: float | None = None
    """1, a part of one, or 0; None: 1 where there are GPUs."""
    memory: bool = True
    """Whether finished studies, or the shipped portfolio, may suggest configurations."""

    def __post_init__(self) -> None:
        for name, low in {"trials": 1, "epochs": 1, "seeds": 1, "finalists": 1, "bracket_size": 1}.items():
            if getattr(self, name) < low:
                raise RequestError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if self.patience is not None and self.patience < 1:
            raise RequestError(f"patience is {self.patience}; it must be at least 1 epoch, or not be given")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise RequestError(f"seed is {self.seed}; it must be from 0 to {LARGEST_SEED}")
        if self.budget_seconds is not None and self.budget_seconds <= 0:
            raise RequestError(
                f"the budget is {self.budget_seconds:g} seconds; it must be positive, such as 20m"
            )
        if self.device_seconds is not None and self.device_seconds <= 0:
            raise RequestError(
                f"the device budget is {self.device_seconds:g} seconds; it must be positive, such as 30m"
            )
        try:
            check_objectives(self.objectives)
            self.limits(backbone_parameters=1)
        except ValueError as error:
            raise RequestError(str(error)) from None
        if self.dtype not in PRECISIONS:
            raise RequestError(f"dtype {self.dtype!r} is unknown; possible: {', '.join(PRECISIONS)}")
        if self.early_exit not in EARLY_EXITS:
            raise RequestError(
                f"early exit {self.early_exit!r} is unknown; possible: {', '.join(EARLY_EXITS)}"
            )
        if self.head not in HEADS:
            raise RequestError(f"head {self.head!r} is unknown; possible: {', '.join(HEADS)}")
        if self.truncation not in TRUNCATIONS:
            raise RequestError(
                f"truncation {self.truncation!r} is unknown; possible: {', '.join(TRUNCATIONS)}"
            )
        if not all(isinstance(fields, Mapping) for fields in self.narrowing.values()):
            raise RequestError(
                "a narrowing needs a table of fields for each method, such as {'lora': {'rank': 8}}"
            )
        if self.sampler not in SAMPLERS:
            raise RequestError(f"sampler {self.sampler!r} is unknown; samplers: {', '.join(SAMPLERS)}")
        if self.runner not in RUNNERS:
            raise RequestError(f"runner {self.runner!r} is unknown; runners: {', '.join(RUNNERS)}")
        try:
            wanted = self.wanted
            if self.address is not None:
                check_address(self.address)
        except ValueError as error:
            raise RequestError(str(error)) from None
        if self.runner == "local" and (self.address is not None or wanted != Wanted()):
            raise RequestError(
                "runner local works in this process only; --address, --workers, --cpus-per-worker and "
                "--gpus-per-worker are for runner ray"
            )

    @property
    def wanted(self) -> Wanted:
        """What the study asks of the machine or the cluster."""
        return Wanted(workers=self.workers, cpus=self.cpus_per_worker, gpus=self.gpus_per_worker)

    def limits(self, backbone_parameters: int) -> Limits:
        """The hard limits as numbers; a percentage is of so many parameters."""
        return limits_of(
            parameters=self.max_parameters,
            stored_bytes=self.max_bytes,
            latency=self.max_latency,
            backbone_parameters=backbone_parameters,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the store keeps them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        files = {
            name: None if values[name] is None else DataFile(**values[name])
            for name in ("train", "validation", "test")
        }
        methods = None if values["methods"] is None else tuple(values["methods"])
        objectives = tuple(values.get("objectives", (METRIC,)))
        # A study from before there were folds goes on without.
        return cls(**{"folds": 1, **values, **files, "methods": methods, "objectives": objectives})


DEFAULT_DATABASE = "sqlite:///peltier.db"
INTERRUPTED = "the run ended while this trial was training"
"""Message of a trial that is trained again when its study is taken up."""
LARGEST_SEED = 2**31 - 1
SAMPLERS = ("tpe", "random", "gp", "nsga2")
RUNNERS = ("ray", "local")
HEADS = ("mean", "native")
TRUNCATIONS = ("head", "head+tail")
PRECISIONS = ("auto", "fp32", "bf16", "8bit", "4bit")
