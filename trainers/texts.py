"""Texts that stay in Arrow: one million of them take little memory, and shuffling copies none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow
from numpy.typing import NDArray

TEXT = pyarrow.large_string()
WORDS = pyarrow.large_list(pyarrow.large_string())
# What a table may hold in memory; a larger one lies in a file that the system pages in and out.
MOST_BYTES = 16 << 20
BLOCK_ROWS = 10_000


class Texts(Sequence[Any]):
    """A column of texts (str) or of words (tuples of str), read only; a slice or `take` is a view of it.

    Compares equal to any sequence of the same items. `list(texts)` and `tuple(texts)` copy it into Python.
    """

    def __init__(self, column: pyarrow.ChunkedArray, rows: NDArray[np.int64] | None = None) -> None:
        self.column = column
        self.rows = rows

    @classmethod
    def of(cls, values: Sequence[Any]) -> Texts:
        """The texts, or tuples of words, of a sequence."""
        kind = TEXT if not values or isinstance(values[0], str) else WORDS
        return cls(pyarrow.chunked_array([pyarrow.array(values, kind)]))

    def __len__(self) -> int:
        return len(self.column) if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        row = range(len(self))[index]
        return plain(self.column[row if self.rows is None else int(self.rows[row])].as_py())

    def __iter__(self) -> Iterator[Any]:
        if self.rows is not None:
            # one by one: `take` would first join all chunks of the column, again for each block
            yield from (plain(self.column[row].as_py()) for row in self.rows.tolist())
            return
        for start in range(0, len(self), BLOCK_ROWS):
            yield from map(plain, self.column[start : start + BLOCK_ROWS].to_pylist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Texts({len(self):,} rows)"

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """The texts of these rows, in this order."""
        return Texts(self.column, rows if self.rows is None else self.rows[rows])


def plain(item: Any) -> Any:
    return tuple(item) if isinstance(item, list) else item


def kept(batches: Iterator[pyarrow.RecordBatch], schema: pyarrow.Schema) -> pyarrow.Table:
    """The batches as a table: in memory while it is small, else in a temporary file that is memory-mapped."""
    held: list[pyarrow.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > MOST_BYTES:
            return mapped(chain(held, batches), schema)
    return pyarrow.Table.from_batches(held, schema)


def mapped(batches: Iterator[pyarrow.RecordBatch], schema: pyarrow.Schema) -> pyarrow.Table:
    """The batches in a file without a name: the system frees it with the last reference to the table."""
    with tempfile.TemporaryDirectory(prefix="peltier-rows-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "rows.arrow"
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write(batch)
        # what the batches took goes back to the system, and is not kept for the next ones
        pyarrow.default_memory_pool().release_unused()
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
