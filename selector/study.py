"""What a study is asked to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

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
    """Names of the methods to search; None: all."""
    trials: int = 16
    """Configurations to try; the repeats of finalists come on top."""
    epochs: int = 10
    """Length of a whole training."""
    budget_seconds: float | None = None
    """Wall-clock for everything; None: until all trials are done."""
    seeds: int = 3
    """Fresh seeds with which each finalist is repeated."""
    finalists: int = 5
    """Configurations that are repeated, spread over methods; full fine-tuning comes on top."""
    full_finetuning: bool = True
    """Whether full fine-tuning is trained as a baseline."""
    bracket_size: int = 8
    """Configurations that start together and are halved against each other."""
    train_rows: int | None = None
    seed: int = 0
    dtype: str = "auto"
    """How the frozen weights are held: auto, fp32, bf16, 8bit or 4bit."""
    runner: str = "ray"

    def __post_init__(self) -> None:
        for name, low in {"trials": 1, "epochs": 1, "seeds": 1, "finalists": 1, "bracket_size": 1}.items():
            if getattr(self, name) < low:
                raise RequestError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise RequestError(f"seed is {self.seed}; it must be from 0 to {LARGEST_SEED}")
        if self.budget_seconds is not None and self.budget_seconds <= 0:
            raise RequestError(
                f"the budget is {self.budget_seconds:g} seconds; it must be positive, such as 20m"
            )
        if self.dtype not in PRECISIONS:
            raise RequestError(f"dtype {self.dtype!r} is unknown; possible: {', '.join(PRECISIONS)}")
        if self.runner not in RUNNERS:
            raise RequestError(f"runner {self.runner!r} is unknown; runners: {', '.join(RUNNERS)}")

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
        return cls(**{**values, **files, "methods": methods})


DEFAULT_DATABASE = "sqlite:///peltier.db"
LARGEST_SEED = 2**31 - 1
RUNNERS = ("ray", "local")
PRECISIONS = ("auto", "fp32", "bf16", "8bit", "4bit")
