"""The values of a column as texts, words or labels in Arrow, whatever a file holds them as."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow

from trainers.source import Source, TaskError, numbered, quoted
from trainers.texts import TEXT, WORDS

ARROW_TEXTS = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view)
ARROW_LISTS = (pyarrow.types.is_list, pyarrow.types.is_large_list, pyarrow.types.is_fixed_size_list)
LONGEST_CELL = 1 << 20
"""Characters of a cell that is still looked at for a list."""


def texts_in(source: Source, column: str, values: Any, first_row: int = 0) -> pyarrow.Array:
    """A block of values as texts, null where one is missing (null or NaN); numbers are written out.

    Raises:
        TaskError: if a value is no text, number or truth value; rows are counted from `first_row`.
    """
    if isinstance(values, pyarrow.Array) and any(is_text(values.type) for is_text in ARROW_TEXTS):
        return values.cast(TEXT)
    written_out = [
        written(source, column, first_row + row, value) for row, value in enumerate(python_values(values))
    ]
    return pyarrow.array(written_out, TEXT)


def lists_in(source: Source, column: str, values: Any, first_row: int = 0) -> pyarrow.Array:
    """A block of lists of texts, null where a list is missing; a cell of text may hold one as JSON or Python.

    Another text is the list of its words, and another value the list of itself.

    Raises:
        TaskError: if an item is missing, or no text, number or truth value.
    """
    found = []
    for row, value in enumerate(python_values(values), start=first_row):
        items = listed_cell(value) if isinstance(value, str) else value
        if items is None and isinstance(value, str):
            items = value.split()
        if items is None or isinstance(items, list | tuple | np.ndarray):
            found.append(None if items is None else written_items(source, column, row, list(items)))
        else:
            text = written(source, column, row, items)
            found.append(None if text is None else [text])
    return pyarrow.array(found, WORDS)


def written_items(source: Source, column: str, row: int, items: Sequence[Any]) -> list[str]:
    texts = [written(source, column, row, item) for item in items]
    missing = next(
        (place for place, text in enumerate(texts, start=1) if text is None or not text.strip()), 0
    )
    if missing:
        raise TaskError(
            f"{numbered([row])} of column {quoted(column)} in {source.name} holds a list whose item "
            f"{missing:,} is missing or blank; write it, or leave it out"
        )
    return [text for text in texts if text is not None]


def python_values(values: Any) -> Sequence[Any]:
    if not isinstance(values, pyarrow.Array):
        return values  # type: ignore[no-any-return]
    if pyarrow.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.to_pylist()  # type: ignore[no-any-return]


def listed_cell(text: str) -> list[Any] | None:
    """The list that a cell holds, such as `["a", "b"]` or, as pandas writes it, `['a', 'b']`; else None."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")) or len(text) > LONGEST_CELL:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def holds_lists(values: Any) -> bool:
    """Whether a block of values holds lists: some typed value, or every cell of text that is not blank."""
    if isinstance(values, pyarrow.Array) and not any(is_text(values.type) for is_text in ARROW_TEXTS):
        return any(is_list(values.type) for is_list in ARROW_LISTS)
    found = [value for value in python_values(values) if value is not None]
    if any(isinstance(value, list | tuple | np.ndarray) for value in found):
        return True
    cells = [value for value in found if isinstance(value, str) and value.strip()]
    return bool(cells) and len(cells) == len(found) and all(listed_cell(cell) is not None for cell in cells)


def written(source: Source, column: str, row: int, value: Any) -> str | None:
    """A value as text, None where it is missing (null or NaN)."""
    where = f"{numbered([row])} of column {quoted(column)} in {source.name}"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(value[error.start]):04x}"
            raise TaskError(
                f"{where} holds {half}, half a character; write the whole one as UTF-8"
            ) from error
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        # pandas turns a column of whole numbers with a gap into floats: 1.0 is the label 1
        return str(int(value)) if value == value // 1 and abs(value) < 2**53 else str(value)
    kind = type(value).__name__
    raise TaskError(
        f"{where} holds a {kind} ({quoted(value)}); one text or one label in each row is possible: "
        f"write it as text, or name another column with --text, --text-pair or --label"
    )
