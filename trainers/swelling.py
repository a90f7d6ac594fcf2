"""How large the rows of Arrow and Parquet are once they are read: all may share a value stored once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from trainers.unpacking import HARMLESS_BYTES, Swollen

BLOCK_BYTES = 16 << 20
OFFSET_BYTES = 8

Sizes = NDArray[np.int64]


def cut(batches: Iterable[pyarrow.RecordBatch], most: int) -> Iterator[pyarrow.RecordBatch]:
    """The batches in slices of up to 16 MB, or of one row, counted as they are once dictionaries are decoded.

    Raises:
        Swollen: before the slice that makes it more than `most` bytes, or a row more than 256 MB.
        ArrowInvalid: if a text is not UTF-8, or an offset is wrong, which would read foreign memory.
    """
    held = 0
    for batch in batches:
        batch.validate(full=True)
        sizes = sum(map(row_bytes, batch.columns), np.zeros(len(batch), dtype=np.int64))
        ends = np.cumsum(sizes)
        held += int(sizes.sum())
        if held > most or sizes.max(initial=0) > HARMLESS_BYTES:
            raise Swollen
        start = 0
        while start < len(batch):
            done = ends[start] - sizes[start]
            stop = max(start + 1, int(np.searchsorted(ends, done + BLOCK_BYTES, side="right")))
            yield batch.slice(start, stop - start)
            start = stop


def row_bytes(array: pyarrow.Array) -> Sizes:
    """Bytes of each row when all that is shared between rows is written out."""
    kind, types = array.type, pyarrow.types
    if not len(array):
        return np.zeros(0, dtype=np.int64)
    if types.is_dictionary(kind):
        return taken(row_bytes(array.dictionary), array.indices)
    if types.is_run_end_encoded(kind):
        rows = np.arange(array.offset, array.offset + len(array))
        runs = np.searchsorted(array.run_ends.to_numpy(), rows, side="right")
        return np.asarray(row_bytes(array.values)[runs])
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        sizes = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, array.sizes.to_numpy())
        return spanned(row_bytes(array.values), array.offsets.to_numpy(), sizes)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        sizes = numbers(pyarrow.compute.list_value_length(array))
        return spanned(row_bytes(array.flatten()), np.cumsum(sizes) - sizes, sizes)
    if types.is_struct(kind):
        return sum(map(row_bytes, array.flatten()), np.zeros(len(array), dtype=np.int64))
    return text_bytes(array) + OFFSET_BYTES


def text_bytes(array: pyarrow.Array) -> Sizes:
    """Bytes of each text; of any other value the mean."""
    kind, types = array.type, pyarrow.types
    if types.is_string_view(kind) or types.is_binary_view(kind):
        # a view begins with its length
        views = np.frombuffer(array.buffers()[1], dtype=np.int32)[::4]
        return views[array.offset : array.offset + len(array)].astype(np.int64)
    if any(is_kind(kind) for is_kind in TEXT_KINDS):
        return numbers(pyarrow.compute.binary_length(array))
    return np.full(len(array), array.nbytes // len(array), dtype=np.int64)


TEXT_KINDS = (
    pyarrow.types.is_string,
    pyarrow.types.is_large_string,
    pyarrow.types.is_binary,
    pyarrow.types.is_large_binary,
)


def taken(sizes: Sizes, indices: pyarrow.Array) -> Sizes:
    """The sizes at the indices; 0 where one is null."""
    return np.asarray(np.append(sizes, 0)[numbers(indices, missing=len(sizes))])


def spanned(sizes: Sizes, starts: Sizes, counts: Sizes) -> Sizes:
    """Sums of so many sizes from each start."""
    ends = np.append(0, np.cumsum(sizes))
    return np.asarray(ends[starts + counts] - ends[starts] + OFFSET_BYTES)


def numbers(array: pyarrow.Array, missing: int = 0) -> Sizes:
    filled = array.cast(pyarrow.int64()).fill_null(missing)
    return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=np.int64)


def longest(array: pyarrow.Array) -> int:
    """Bytes of the longest value in the dictionaries of an array, nested ones included."""
    kind = array.type
    if pyarrow.types.is_dictionary(kind):
        return int(row_bytes(array.dictionary).max(initial=0))
    if pyarrow.types.is_struct(kind):
        return max(map(longest, array.flatten()), default=0)
    if pyarrow.types.is_nested(kind) and hasattr(array, "values"):
        return longest(array.values)
    return 0
