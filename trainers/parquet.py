"""Parquet: blocks of its columns in bounded memory, however small the file that they come from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet

from trainers.source import Source, TaskError, swollen
from trainers.structured import BLOCK_ROWS, blocks_of, class_names, unreadable
from trainers.swelling import BLOCK_BYTES, OFFSET_BYTES, longest
from trainers.unpacking import most_bytes


def parquet(source: Source, **how: Any) -> Any:
    """The opened file.

    Raises:
        TaskError: if it is no Parquet file.
    """
    try:
        return pyarrow.parquet.ParquetFile(source.path, **how)
    except (pyarrow.ArrowException, OSError) as error:
        raise TaskError(unreadable(source, error)) from error


def read_parquet(source: Source, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Blocks of the wanted columns as Arrow arrays; as lists where numbers of classes have names."""
    with parquet(source) as file:
        yield from blocks_of(source, batches(source, file, wanted), wanted, class_names(file.schema_arrow))


def batches(source: Source, file: Any, wanted: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Batches of up to 10,000 rows and about 16 MB.

    Raises:
        TaskError: if the file says of a column that it is over 200 times larger than the file.
    """
    names, most = set(wanted), most_bytes(source.size)
    for group in range(file.metadata.num_row_groups):
        row_group = file.metadata.row_group(group)
        every = map(row_group.column, range(row_group.num_columns))
        columns = [column for column in every if column_of(column.path_in_schema, names)]
        stored = sum(map(stored_bytes, columns)) / max(row_group.num_rows, 1)
        if any(stored_bytes(column) > most for column in columns):
            raise TaskError(swollen(source))
        shared = [column for column in columns if column.has_dictionary_page and is_text(column)]
        with parquet(
            source, metadata=file.metadata, read_dictionary=[column.path_in_schema for column in shared]
        ) as dictionaries:
            entries = longest_entries(dictionaries, group, shared, names) / max(row_group.num_rows, 1)
            # a row that may be huge is read with its dictionaries, and measured before they are written out
            huge = stored + entries > BLOCK_BYTES
            rows = BLOCK_BYTES // max(stored if huge else stored + entries, 1)
            # of texts that share beginnings each may be as long as all that is stored; a quarter of what may
            # be read leaves room for copies
            beginnings = max(
                (column.total_uncompressed_size for column in columns if adds(column)), default=1
            )
            yield from (dictionaries if huge else file).iter_batches(
                batch_size=max(int(min(BLOCK_ROWS, rows, most // (4 * beginnings))), 1),
                row_groups=[group],
                columns=list(wanted),
            )


def stored_bytes(column: Any) -> int:
    """Of one column of a row group: its pages once they are unpacked, and a place for each value."""
    return int(column.total_uncompressed_size + OFFSET_BYTES * column.num_values)


def is_text(column: Any) -> bool:
    return bool(column.physical_type == "BYTE_ARRAY")


def adds(column: Any) -> bool:
    """Whether a text is stored as what it adds to the one before."""
    return "DELTA_BYTE_ARRAY" in column.encodings


def column_of(path: str, names: Collection[str]) -> str | None:
    """The column that a path of the file belongs to: "tokens" of "tokens.list.element"."""
    parts = path.split(".")
    return next((name for i in range(1, len(parts) + 1) if (name := ".".join(parts[:i])) in names), None)


def longest_entries(dictionaries: Any, group: int, shared: Sequence[Any], names: Collection[str]) -> int:
    """Bytes of a row group's values if each were the longest of its column's dictionary.

    `dictionaries` is the file read with them; they come with the first row.
    """
    paths = [column.path_in_schema for column in shared]
    first = next(dictionaries.iter_batches(batch_size=1, row_groups=[group], columns=paths), None)
    if first is None:
        return 0
    return sum(
        column.num_values * longest(first.column(column_of(path, names)))
        for column, path in zip(shared, paths, strict=True)
    )
