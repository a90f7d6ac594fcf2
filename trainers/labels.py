"""The labels of a dataset: which there are, in which order, and as the arrays that a kind of task needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from trainers.source import MOST_LISTED, Source, TaskError, listed, numbered, quoted

MAX_LABELS = 1000
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Column:
    """The labels of a file as they were found, without the spaces around them."""

    where: str
    """The column and the file, for messages."""
    file: str
    names: list[str]
    """The different labels, in the order of their first rows."""
    codes: Indices
    """Positions in `names`: one for each row, or for each item of the lists."""
    offsets: Indices | None
    """Where the lists of labels begin: that of row i is `codes[offsets[i]:offsets[i + 1]]`."""

    @property
    def rows(self) -> int:
        return len(self.codes) if self.offsets is None else len(self.offsets) - 1


def label_column(source: Source, column: str, values: pyarrow.ChunkedArray) -> Column:
    """The labels in a column of texts, or of lists of texts.

    Raises:
        TaskError: if a label is missing or blank.
    """
    array, offsets = values.combine_chunks(), None
    missing = array.is_null().to_numpy(zero_copy_only=False)
    if pyarrow.types.is_large_list(array.type) and not missing.any():
        lengths = pyarrow.compute.list_value_length(array).to_numpy()
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        array = array.flatten()
    if not missing.any():
        encoded = array.dictionary_encode()
        stripped = [label.strip() for label in encoded.dictionary.to_pylist()]
        position = {name: i for i, name in enumerate(dict.fromkeys(stripped))}
        codes = np.array([position[label] for label in stripped], np.int64)[encoded.indices.to_numpy()]
        missing = codes == position.get("", -1)
    empty = np.flatnonzero(missing).tolist()
    if empty:
        raise TaskError(
            f"column {quoted(column)} of {source.name} has no label in {len(empty):,} of {len(missing):,} "
            f"rows ({numbered(empty)}); fill them in ([] in lists where none applies), drop these rows, "
            f"or name another column with --label"
        )
    return Column(f"column {quoted(column)} of {source.name}", source.name, list(position), codes, offsets)


def label_names(column: Column, declared: Sequence[str]) -> tuple[str, ...]:
    """The labels of the training rows in the order in which they are declared, else sorted.

    Raises:
        TaskError: if there is one label only, or the column looks like an id, a number or a text.
    """
    if len(column.names) == 1:
        raise TaskError(
            f"{column.where} has one label only ({quoted(column.names[0])}); classification needs at least "
            f"two: add rows of another label, or name another column with --label"
        )
    if len(column.names) == column.rows or len(column.names) > MAX_LABELS:
        raise TaskError(
            f"{column.where} has {len(column.names):,} different labels in {column.rows:,} rows; "
            f"classification needs rows that share a label and at most {MAX_LABELS:,} labels. Is it an id, a "
            f"text or a number? Name another column with --label, or predict a number with --task regression"
        )
    return ordered(column.names, declared)


def joint_names(columns: Sequence[Column], declared: Sequence[str]) -> tuple[str, ...]:
    """The labels of all splits: rows with several labels are worth keeping when one was never trained.

    Raises:
        TaskError: if there is no label, or more than can be told apart.
    """
    found = list(dict.fromkeys(name for column in columns for name in column.names))
    if not 0 < len(found) <= MAX_LABELS:
        raise TaskError(
            f"{columns[0].where} has {len(found):,} different labels; 1 to {MAX_LABELS:,} are possible: name "
            f"another column with --label"
        )
    return ordered(found, declared)


def ordered(names: Sequence[str], declared: Sequence[str]) -> tuple[str, ...]:
    """As declared; else sorted, as numbers where all are numbers."""
    place = {name.strip(): i for i, name in enumerate(declared)}
    if all(name in place for name in names):
        return tuple(sorted(names, key=place.__getitem__))
    numbers = {name: number for name in names if (number := as_number(name)) is not None}
    if len(numbers) == len(names):
        return tuple(sorted(names, key=lambda name: (numbers[name], name)))
    return tuple(sorted(names))


def as_number(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def label_indices(column: Column, labels: Sequence[str]) -> Indices:
    """The labels of the rows, or of the words, as indices into `labels`.

    Raises:
        TaskError: if a label does not occur in training.
    """
    index = {label: i for i, label in enumerate(labels)}
    unknown = sorted(set(column.names) - index.keys())
    if unknown:
        count = sum(column.names[code] not in index for code in column.codes.tolist())
        raise TaskError(
            f"{column.file} has {len(unknown):,} labels that never occur in the training file "
            f"({listed(map(quoted, unknown), MOST_LISTED)}; {count:,} rows); known are "
            f"{listed(map(quoted, labels), MOST_LISTED)}. Add training rows of them, or drop or "
            f"rename these rows"
        )
    return np.array([index[name] for name in column.names], np.int64)[column.codes]


def label_sets(column: Column, labels: Sequence[str]) -> NDArray[np.float32]:
    """1 where a row has a label, else 0: [rows, classes]."""
    assert column.offsets is not None
    sets = np.zeros((column.rows, len(labels)), dtype=np.float32)
    rows = np.repeat(np.arange(column.rows), np.diff(column.offsets))
    sets[rows, label_indices(column, labels)] = 1
    return sets


def label_numbers(column: Column) -> NDArray[np.float32]:
    """The labels as numbers [rows].

    Raises:
        TaskError: if one is not a finite number.
    """
    numbers = [as_number(name) for name in column.names]
    wrong = {i for i, number in enumerate(numbers) if number is None or abs(number) > LARGEST}
    if wrong:
        rows = [row for row, code in enumerate(column.codes.tolist()) if code in wrong]
        raise TaskError(
            f"{column.where} holds {quoted(column.names[column.codes[rows[0]]])}, which is no finite number, "
            f"and {len(rows):,} such labels in all ({numbered(rows)}); write numbers such as 3.5, or use "
            f"--task classification"
        )
    return np.array(numbers, np.float32)[column.codes]


LARGEST = float(np.finfo(np.float32).max)
