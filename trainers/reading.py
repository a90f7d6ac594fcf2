"""Columns of a dataset file, whatever its format, and the texts and labels in them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.delimited import header, read_delimited
from trainers.source import Source, Stream, TaskError, listed, numbered, open_source, quoted
from trainers.structured import objects, parquet, read_objects, read_parquet

Texts = tuple[str, ...]
# Objects that are looked at for the names of the columns: enough for keys that some objects leave out.
SAMPLED_OBJECTS = 1000


def read_texts(given: Path | Stream, text: str, text_pair: str | None = None) -> tuple[Texts, Texts | None]:
    """The texts (and second texts) of a file or binary stream for prediction; no label is needed.

    Raises:
        TaskError: if the input or a column cannot be read.
    """
    source = open_source(given)
    wanted = [text] if text_pair is None else [text, text_pair]
    columns = read_columns(source, wanted)
    texts = [tuple(texts_of(source, name, columns[name])) for name in wanted]
    return texts[0], texts[1] if text_pair is not None else None


def columns_of(source: Source) -> list[str]:
    """The names of the columns, in the order of the file."""
    if source.format == "parquet":
        with parquet(source) as file:
            return list(file.schema_arrow.names)
    if source.format in ("csv", "tsv"):
        return header(source)[0]
    keys = (key for item in itertools.islice(objects(source), SAMPLED_OBJECTS) for key in item)
    return list(dict.fromkeys(keys))


def read_columns(source: Source, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """The values of the wanted columns, one for each row.

    Raises:
        TaskError: if a column is missing, the file is malformed, or it has no row.
    """
    names = columns_of(source)
    missing = [quoted(name) for name in wanted if name not in names]
    if missing and names:
        raise TaskError(
            f"{source.name} has no column {listed(missing)}; it has {listed(map(quoted, names), 20)}. "
            f"Name the columns with --text, --text-pair and --label, the same for every file"
        )
    columns = READERS[source.format](source, wanted) if names else {}
    if not any(columns.values()):
        raise TaskError(f"{source.name} has no rows; give a file with one example in each row")
    return columns


def texts_of(source: Source, column: str, values: Sequence[Any]) -> list[str]:
    """The values of a column as texts; numbers are written out.

    Raises:
        TaskError: if a text is missing or not a text, or every text is blank.
    """
    texts = [written(source, column, row, value) for row, value in enumerate(values)]
    empty = [row for row, text in enumerate(texts) if text is None]
    if empty:
        raise TaskError(
            f"column {quoted(column)} of {source.name} has no text in {len(empty):,} of {len(texts):,} rows "
            f"({numbered(empty)}); fill them in or drop these rows"
        )
    kept = [text for text in texts if text is not None]
    if not any(text.strip() for text in kept):
        raise TaskError(
            f"every text in column {quoted(column)} of {source.name} is blank; "
            f"name the text column with --text"
        )
    return kept


def labels_of(source: Source, column: str, values: Sequence[Any]) -> list[str]:
    """The values of a column as labels, without the spaces around them; numbers and booleans are written out.

    Raises:
        TaskError: if a label is missing, blank, or a list.
    """
    labels = [(written(source, column, row, value) or "").strip() for row, value in enumerate(values)]
    empty = [row for row, label in enumerate(labels) if not label]
    if empty:
        raise TaskError(
            f"column {quoted(column)} of {source.name} has no label in {len(empty):,} of {len(labels):,} "
            f"rows ({numbered(empty)}); fill them in, drop these rows, or name another column with --label"
        )
    return labels


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


READERS = {
    "csv": read_delimited,
    "tsv": read_delimited,
    "jsonl": read_objects,
    "json": read_objects,
    "parquet": read_parquet,
}
