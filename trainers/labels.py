"""The labels of a dataset: which there are, in which order, and as indices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainers.source import MOST_LISTED, TaskError, listed, quoted

MAX_LABELS = 1000


def label_names(file: str, column: str, rows: Sequence[str], *, numbers_are_classes: bool) -> tuple[str, ...]:
    """The sorted labels of the training rows; as numbers where all are numbers.

    Raises:
        TaskError: if there is one label only, or the column looks like an id, a number or a text.
    """
    found = set(rows)
    numbers = {label: number for label in found if (number := as_number(label)) is not None}
    where = f"column {quoted(column)} of {file}"
    if len(found) == 1:
        raise TaskError(
            f"{where} has one label only ({quoted(rows[0])}); classification needs at least two: "
            f"add rows of another label, or name another column with --label"
        )
    if len(found) == len(rows) or len(found) > MAX_LABELS:
        raise TaskError(
            f"{where} has {len(found):,} different labels in {len(rows):,} rows; classification needs rows "
            f"that share a label and at most {MAX_LABELS:,} labels. Is it an id, a text or a number? "
            f"Name another column with --label"
        )
    fraction = next((label for label in sorted(found) if numbers.get(label, 0.0) % 1), None)
    if len(numbers) == len(found) and fraction is not None and not numbers_are_classes:
        raise TaskError(
            f"{where} holds fractions such as {quoted(fraction)}, and predicting a number is not possible "
            f"yet; pass --task classification (or pair-classification) to take each value as a class, or "
            f"name another column with --label"
        )
    if len(numbers) == len(found):
        return tuple(sorted(found, key=lambda label: (numbers[label], label)))
    return tuple(sorted(found))


def as_number(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def label_indices(file: str, rows: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """The labels of the rows as indices into `labels`.

    Raises:
        TaskError: if a label does not occur in training.
    """
    index = {label: i for i, label in enumerate(labels)}
    unknown = sorted(set(rows) - index.keys())
    if unknown:
        count = sum(label not in index for label in rows)
        raise TaskError(
            f"{file} has {len(unknown):,} labels that never occur in the training file "
            f"({listed(map(quoted, unknown), MOST_LISTED)}; {count:,} rows); known are "
            f"{listed(map(quoted, labels), MOST_LISTED)}. Add training rows of them, or drop or "
            f"rename these rows"
        )
    return np.array([index[label] for label in rows], dtype=np.int64)
