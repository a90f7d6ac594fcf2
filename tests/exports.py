"""Small exports on disk, of modules in which nothing is zero by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny import CLASSES, task_of_kind

from trainers.backbone import Backbone
from trainers.export import Module, exported, write_export
from trainers.method import METHODS
from trainers.stack import Candidate, Stack
from trainers.task import Task


def module_of(
    backbone: Backbone, method: str, seed: int = 0, classes: int = CLASSES, **values: Any
) -> Module:
    """A module of a method, moved away from its start by its seed."""
    config = METHODS[method].from_values(values)
    stack, chance = Stack(backbone, [Candidate(config, seed)], classes), torch.Generator().manual_seed(seed)
    state = {n: t + 0.1 * torch.randn(t.shape, generator=chance) for n, t in stack.states()[0].items()}
    return Module(config, seed, state)


def write(
    folder: Path,
    backbone: Backbone,
    *,
    method: str = "lora",
    seed: int = 0,
    task: Task | None = None,
    kind: str = "classification",
    **facts: Any,
) -> Path:
    """Write the export of such a module."""
    task = task or task_of_kind(kind, 4, 6, 4)
    module = module_of(backbone, method, seed, task.outputs)
    logits = exported(module, backbone, task, 32, "head").logits(task.validation)
    write_export(folder, module, backbone, task, 32, logits, facts)
    return folder
