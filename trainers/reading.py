"""Columns of a dataset file, whatever its format: their names, their values, and the texts to predict for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow

from trainers.delimited import header, read_delimited
from trainers.flags import holds_flags
from trainers.media import LOOKED_AT, medium_in
from trainers.parquet import parquet, read_parquet
from trainers.source import (
    MOST_LISTED,
    Source,
    Stream,
    TaskError,
    listed,
    numbered,
    open_source,
    quoted,
    repeated,
)
from trainers.structured import class_names, objects, read_objects, read_table
from trainers.texts import TEXT, WORDS, Texts, kept
from trainers.values import holds_lists, lists_in, python_values, texts_in

# Objects that are looked at for the names of the columns: enough for keys that some objects leave out.
SAMPLED_OBJECTS = 1000
SAMPLED_ROWS = 1000


def read_texts(
    given: Path | Stream | Source, text: str, text_pair: str | None = None, *, words: bool = False
) -> tuple[Texts, Texts | None]:
    """The texts (and second texts, or the words) of a file or stream for prediction; no label is needed.

    Raises:
        TaskError: if the input or a column cannot be read.
    """
    source = given if isinstance(given, Source) else open_source(given)
    wanted = [text] if text_pair is None else [text, text_pair]
    table = read_columns_as(source, {name: WORDS if words else TEXT for name in wanted})
    texts = [texts_of(source, name, table[name]) for name in wanted]
    return texts[0], texts[1] if text_pair is not None else None


def columns_of(source: Source) -> list[str]:
    """The names of the columns, in the order of the file."""
    if source.format in ("csv", "tsv"):
        return header(source)[0]
    if source.table is not None:
        names = list(source.table.schema.names)
    elif source.format == "parquet":
        with parquet(source) as file:
            names = list(file.schema_arrow.names)
    else:
        sampled = itertools.islice(objects(source), SAMPLED_OBJECTS)
        return list(dict.fromkeys(key for item in sampled for key in item))
    twice = repeated(names)
    if twice:
        raise TaskError(
            f"{source.name} has more than one column {listed(twice, MOST_LISTED)}; rename or delete one"
        )
    return names


def declared_labels(source: Source, column: str) -> list[str]:
    """The names of the classes that the data declares for a column (ClassLabel); empty where it does not."""
    if source.table is not None:
        return class_names(source.table.schema).get(column, [])
    if source.format == "parquet":
        with parquet(source) as file:
            return class_names(file.schema_arrow).get(column, [])
    return []


def blocks(source: Source, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The wanted columns block by block, as Python lists or Arrow arrays; never the whole file at once.

    Raises:
        TaskError: if a column is missing, the file is malformed, or it has no row.
    """
    names = columns_of(source)
    there = set(names)
    missing = [quoted(name) for name in wanted if name not in there]
    if missing and names:
        raise TaskError(
            f"{source.name} has no column {listed(missing)}; it has {listed(map(quoted, names), 20)}. "
            f"Name the columns with --text, --text-pair and --label, the same for every file"
        )
    rows = 0
    for block in READERS[source.format](source, wanted) if names else ():
        rows += len(next(iter(block.values())))
        yield block
    if not rows:
        raise TaskError(f"{source.name} has no rows; give a file with one example in each row")


def read_columns(source: Source, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """The values of the wanted columns as Python values, one for each row.

    Raises:
        TaskError: as `blocks` does.
    """
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    for block in blocks(source, wanted):
        for name, column in columns.items():
            column.extend(python_values(block[name]))
    return columns


@dataclass(frozen=True)
class Forms:
    """What the columns hold in the first rows."""

    lists: frozenset[str]
    flags: frozenset[str]
    """0 and 1 only."""
    media: dict[str, str]
    """Column -> what it holds that is no text."""


def forms_of(source: Source, names: Sequence[str]) -> Forms:
    """What the columns hold in the first rows.

    Raises:
        TaskError: as `blocks` does.
    """
    first = {name: values[:SAMPLED_ROWS] for name, values in next(blocks(source, names)).items()}
    media = {name: medium_in(python_values(values[:LOOKED_AT])) for name, values in first.items()}
    return Forms(
        lists=frozenset(name for name, values in first.items() if holds_lists(values)),
        flags=frozenset(name for name, values in first.items() if holds_flags(values)),
        media={name: kind for name, kind in media.items() if kind},
    )


def read_columns_as(source: Source, types: dict[str, pyarrow.DataType]) -> pyarrow.Table:
    """The columns as an Arrow table of texts (`TEXT`) or lists of texts (`WORDS`), null where one is missing.

    Raises:
        TaskError: as `blocks` does, or if a value has no such form.
    """
    schema = pyarrow.schema(types.items())

    def batches() -> Iterator[pyarrow.RecordBatch]:
        rows = 0
        for block in blocks(source, list(types)):
            columns = [
                (lists_in if kind == WORDS else texts_in)(source, name, block[name], rows)
                for name, kind in types.items()
            ]
            rows += len(columns[0])
            yield pyarrow.record_batch(columns, schema)

    return kept(batches(), schema)


def texts_of(source: Source, column: str, values: pyarrow.ChunkedArray) -> Texts:
    """A column of texts, or of words, that is complete.

    Raises:
        TaskError: if a text is missing, or every text is blank.
    """
    empty = missing_rows(values)
    if empty:
        raise TaskError(
            f"column {quoted(column)} of {source.name} has no text in {len(empty):,} of {len(values):,} rows "
            f"({numbered(empty)}); fill them in or drop these rows"
        )
    texts = Texts(values)
    if not any(text.strip() if isinstance(text, str) else text for text in texts):
        raise TaskError(
            f"every text in column {quoted(column)} of {source.name} is blank; "
            f"name the text column with --text"
        )
    return texts


def missing_rows(values: pyarrow.ChunkedArray) -> list[int]:
    """The rows that are null."""
    if not values.null_count:
        return []
    return [int(row) for row in values.is_null().to_numpy().nonzero()[0]]


READERS = {
    "csv": read_delimited,
    "tsv": read_delimited,
    "jsonl": read_objects,
    "json": read_objects,
    "parquet": read_parquet,
    "arrow": read_table,
    "table": read_table,
}
