"""Labels in columns of their own: 1 (or true) in each row that has the label, 0 (or false) elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow

from trainers.labels import Column
from trainers.source import Source, TaskError, listed, numbered, quoted
from trainers.values import python_values

MEANINGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
# Columns that number the rows, beside those that end like these.
IDS = ("", "id", "idx", "index", "guid", "uid", "uuid", "unnamed: 0")
ID_ENDING = "_id"


def holds_flags(values: Any) -> bool:
    """Whether a block of values holds 0 and 1, or false and true, only; missing ones are not looked at."""
    if isinstance(values, pyarrow.Array):
        if pyarrow.types.is_nested(values.type):
            return False
        values = values.unique()
    found = [value for value in python_values(values) if value is not None]
    return bool(found) and all(meaning(value) is not None for value in found)


def meaning(value: Any) -> bool | None:
    """What a value of such a column says; None where it is another value."""
    if not isinstance(value, str | int | float):
        return None
    return MEANINGS.get(str(value).strip().lower())


def named_columns(label: str | None, names: Collection[str]) -> list[str]:
    """The columns that one --label names, separated by commas; none where it is the name of one.

    A name that holds a comma itself stands in double quotes.
    """
    if label is None or label in names or "," not in label or not label.isprintable():
        return []
    found = [name.strip() for name in next(csv.reader([label], skipinitialspace=True))]
    return [name for name in found if name]


def as_option(columns: Sequence[str]) -> str:
    """The columns as one --label names them."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(columns)
    return line.getvalue()


def flagged(names: Sequence[str], flags: Collection[str], text: str | None) -> tuple[str, ...]:
    """The columns of flags, where there are two or more and nothing else but a text and numbers of rows."""
    found = [name for name in names if name in flags and name != text]
    rest = [name for name in names if name not in found and name != text and not is_id(name)]
    return tuple(found) if len(found) > 1 and len(rest) == (text is None) else ()


def is_id(name: str) -> bool:
    return name.lower() in IDS or name.lower().endswith(ID_ENDING)


def flag_column(source: Source, columns: Sequence[str], table: pyarrow.Table) -> Column:
    """The labels of the rows in these columns, in the order of the columns.

    Raises:
        TaskError: if a value is missing, or neither 0 nor 1.
    """
    sets = np.stack([flags_in(source, name, table[name]) for name in columns], axis=1)
    offsets = np.concatenate([[0], np.cumsum(sets.sum(axis=1))]).astype(np.int64)
    where = f"columns {listed(map(quoted, columns), 5)} of {source.name}"
    return Column(where, source.name, list(columns), np.nonzero(sets)[1].astype(np.int64), offsets)


def flags_in(source: Source, column: str, values: pyarrow.ChunkedArray) -> np.ndarray:
    """Whether each row has the label: [rows]."""
    encoded = values.combine_chunks().dictionary_encode()
    meanings = [meaning(text) for text in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(len(meanings)).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(np.array([one is None for one in [*meanings, None]])[codes])
    if len(wrong):
        row = int(wrong[0])
        found = values[row].as_py()
        raise TaskError(
            f"{numbered([row])} of {source.name} holds {'nothing' if found is None else quoted(found)} in "
            f"column {quoted(column)} ({len(wrong):,} of {len(codes):,} rows hold no 0 or 1); where each "
            f"label has a column, write 1 or 0 in each row, drop these rows, or name others with --label"
        )
    return np.asarray(np.array([bool(one) for one in meanings], dtype=bool)[codes])
