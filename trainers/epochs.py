"""An epoch in equal parts: where a training on many rows is scored before it has seen all of them."""

from __future__ import annotations

import math

import numpy as np

from trainers.fidelity import Epochs
from trainers.task import Task

PART_ROWS = 1000
"""Fewest training rows of a part: 62 batches of 16, as many steps as two epochs of 500 rows. After too few
steps a ranking is noise, and it was on 500 rows and several epochs that it was measured
(docs/performance.md)."""
MOST_PARTS = 4
"""Parts are 1, 2 or 4: their shares of an epoch are exact as floats, and so are sums of them."""


def parts_of_epoch(task: Task) -> int:
    """Into how many parts an epoch is divided; 1 where there are few rows.

    With folds the rows that count are those of the smallest training.
    """
    rows = len(task.train)
    if task.folds is not None:
        rows -= int(np.bincount(task.folds).max())
    parts = MOST_PARTS
    while parts > 1 and rows < parts * PART_ROWS:
        parts //= 2
    return parts


def next_stop(done: Epochs, end: Epochs) -> Epochs:
    """The next end of an epoch after `done` epochs, or `end` where that comes first."""
    return min(math.floor(done) + 1, end)


def batches_before(share: Epochs, batches: int) -> int:
    """How many of an epoch's batches belong to a share of it; at least one to any."""
    return math.ceil(share * batches)
