"""A task with folds as the tasks of its folds, and their predictions put together out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.task import Task

Rows = NDArray[np.int64]


def fold_rows(task: Task) -> list[tuple[Rows, Rows]]:
    """For each fold the training rows outside it and those in it, in file order; none without folds."""
    if task.folds is None:
        return []
    return [
        (np.flatnonzero(task.folds != fold), np.flatnonzero(task.folds == fold))
        for fold in range(task.fold_count)
    ]


def fold_tasks(task: Task) -> list[Task]:
    """For each fold a task of its own: trained on the rows outside it, validated on those in it."""
    train = task.train
    return [
        replace(task, train=train.take(others), validation=train.take(own), folds=None)
        for others, own in fold_rows(task)
    ]


def item_folds(task: Task) -> Rows:
    """The fold of each training label: of the row, or for words of the row that they stand in."""
    assert task.folds is not None, "only a task with folds has them"
    if task.train.offsets is None:
        return task.folds
    return np.repeat(task.folds, np.diff(task.train.offsets))


def out_of_fold(task: Task, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Each fold's predictions `[..., items of the fold, outputs]`, in the order of the validation items."""
    folds = item_folds(task)
    found = np.empty((*parts[0].shape[:-2], len(folds), parts[0].shape[-1]), dtype=parts[0].dtype)
    for fold, part in enumerate(parts):
        found[..., folds == fold, :] = part
    return found
