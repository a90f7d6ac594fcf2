"""What a request can choose from; a form shows it before anything is checked."""

from __future__ import annotations

from pathlib import Path

from selector.service import space_for
from selector.study import DataFile, StudySpec
from trainers.checkpoint import PACKAGED, default_reference
from trainers.kinds import single
from trainers.metrics import LOWER_IS_BETTER, METRICS_OF
from trainers.task import KINDS

__all__ = ["KINDS", "backbone_named", "default_backbone", "method_names", "metrics_for"]


def metrics_for(kind: str | None) -> list[str]:
    """The metrics that a search can choose by, of one kind or of all; classes also have f1:LABEL."""
    kinds = METRICS_OF if kind is None else [single(kind)]
    every = dict.fromkeys(name for each in kinds for name in METRICS_OF[each])
    return [name for name in every if name not in LOWER_IS_BETTER]


def default_backbone() -> str:
    """The packaged backbone; empty when it is not installed."""
    return default_reference() or ""


def backbone_named(given: str) -> str:
    """A hub id as it is, a folder by its absolute path: workers run elsewhere."""
    return str(Path(given).resolve()) if given != PACKAGED and Path(given).exists() else given


def method_names(backbone: str) -> tuple[list[str], list[str]]:
    """The methods that can be searched on a backbone, and why others cannot.

    Raises:
        BackboneError: if the backbone cannot be used.
    """
    space, reasons = space_for(StudySpec(train=DataFile(name=""), backbone=backbone))
    return [method.name for method in space.methods], reasons
