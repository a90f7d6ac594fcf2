"""What a request can choose from; a form shows it before anything is checked."""

from __future__ import annotations

from pathlib import Path

from selector.service import space_for
from selector.study import DataFile, StudySpec
from trainers.checkpoint import PACKAGED, default_reference
from trainers.metrics import METRICS
from trainers.task import KINDS

__all__ = ["KINDS", "METRICS", "backbone_named", "default_backbone", "method_names"]


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
