"""Into how many parts an epoch is divided, and which batches belong to a part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny import task_of

from trainers.epochs import batches_before, next_stop, parts_of_epoch
from trainers.splits import Split
from trainers.task import Task


def task_with(rows: int) -> Task:
    split = Split(("a row",) * rows, None, np.zeros(rows, dtype=np.int64))
    return task_of(split, split, split)


@pytest.mark.parametrize(
    ("rows", "parts"), [(10, 1), (1999, 1), (2000, 2), (3999, 2), (4000, 4), (100_000, 4)]
)
def test_a_part_has_at_least_a_thousand_rows(rows: int, parts: int) -> None:
    assert parts_of_epoch(task_with(rows)) == parts


def test_with_folds_the_rows_without_the_largest_fold_count() -> None:
    task = task_with(5000)
    assert parts_of_epoch(replace(task, folds=np.arange(5000) % 5)) == 4
    assert parts_of_epoch(replace(task, folds=np.arange(5000) % 4)) == 2
    assert parts_of_epoch(replace(task, folds=np.maximum(np.arange(5000) - 4000, 0) % 5)) == 1


@pytest.mark.parametrize("batches", [1, 2, 3, 250, 251])
def test_the_parts_of_an_epoch_are_nearly_equal_and_make_it_up(batches: int) -> None:
    ends = [batches_before(share, batches) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert ends[0] == 0 and ends[-1] == batches and ends[1] >= 1
    sizes = np.diff(ends)
    assert sizes.min() >= 0 and sizes.max() - sizes.min() <= 1


def test_a_training_stops_at_the_end_of_every_epoch_on_its_way() -> None:
    assert [next_stop(done, 2.5) for done in (0, 0.25, 1, 2, 2.25)] == [1, 1, 2, 2.5, 2.5]
