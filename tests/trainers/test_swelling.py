"""Rows that share their values: how large they become, and in which parts they are read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.arrow_files import arrow_table, unpacked_bytes
from trainers.reading import read_columns_as
from trainers.source import open_source
from trainers.swelling import BLOCK_BYTES, OFFSET_BYTES, cut, longest, row_bytes
from trainers.texts import TEXT
from trainers.unpacking import Swollen, most_bytes

WORDS = st.none() | st.text(max_size=5)
LISTS = st.none() | st.lists(WORDS, max_size=4)


def viewed(texts: list[str | None]) -> pyarrow.Array:
    return pyarrow.array(texts, pyarrow.string_view())


def run_ends(texts: list[str | None]) -> pyarrow.Array:
    """Each text in two rows."""
    ends = pyarrow.array(np.arange(1, len(texts) + 1) * 2, pyarrow.int32())
    return pyarrow.RunEndEncodedArray.from_arrays(ends, pyarrow.array(texts, pyarrow.string()))


FORMS: dict[str, Callable[[list[str | None]], pyarrow.Array]] = {
    "texts": lambda texts: pyarrow.array(texts, pyarrow.string()),
    "long texts": lambda texts: pyarrow.array(texts, TEXT),
    "views": viewed,
    "dictionary": lambda texts: pyarrow.array(texts, pyarrow.string()).dictionary_encode(),
    "runs": run_ends,
}


def text_bytes(text: str | None) -> int:
    return len((text or "").encode())


@given(
    form=st.sampled_from(sorted(FORMS)),
    texts=st.lists(WORDS, min_size=1, max_size=8),
    start=st.integers(0, 7),
)
def test_rows_count_as_what_they_are_in_python(form: str, texts: list[str | None], start: int) -> None:
    array = FORMS[form](texts).slice(start % len(texts))
    place = 0 if form == "dictionary" and not any(texts) else OFFSET_BYTES
    expected = [text_bytes(text) + (place if text is not None else 0) for text in array.to_pylist()]
    counted = row_bytes(array)
    # a missing text takes a place or none
    assert all(size in (want, want + OFFSET_BYTES) for size, want in zip(counted, expected, strict=True))


@given(rows=st.lists(LISTS, min_size=1, max_size=8), start=st.integers(0, 7))
def test_rows_of_lists_count_their_items(rows: list[list[str | None] | None], start: int) -> None:
    plain = pyarrow.array(rows, pyarrow.list_(pyarrow.string())).slice(start % len(rows))
    shared = plain.cast(pyarrow.list_(pyarrow.dictionary(pyarrow.int32(), pyarrow.string())))
    sizes = [sum(map(text_bytes, row or [])) for row in plain.to_pylist()]
    for array in (plain, shared):
        places = row_bytes(array) - sizes
        most = [(len(row or []) + 1) * OFFSET_BYTES for row in plain.to_pylist()]
        assert all(0 <= place <= top for place, top in zip(places, most, strict=True))
    assert longest(shared) <= max(
        (text_bytes(text) + OFFSET_BYTES for row in rows for text in row or [""]), default=0
    )


def batch_of(lengths: list[int]) -> pyarrow.RecordBatch:
    texts = ["a" * length for length in lengths]
    return pyarrow.record_batch(
        {"text": pyarrow.array(texts).dictionary_encode(), "n": list(range(len(texts)))}
    )


def test_batches_are_cut_where_they_would_be_too_large() -> None:
    million = 1 << 20
    parts = list(cut([batch_of([million] * 40 + [20 * million] + [1] * 1000)], 61 * million))
    assert [part.num_rows for part in parts] == [15, 15, 10, 1, 1000]
    assert [n for part in parts for n in part.column("n").to_pylist()] == list(range(1041))
    with pytest.raises(Swollen):
        list(cut([batch_of([million] * 9), batch_of([million] * 9)], 17 * million))
    with pytest.raises(Swollen):
        list(cut([batch_of([257 * million])], 300 * million))


def test_a_file_may_grow_by_its_size_and_any_file_by_what_is_harmless() -> None:
    assert most_bytes(1000) == 256 << 20 and most_bytes(1 << 30) == 200 << 30


def shared_rows(count: int) -> pyarrow.Table:
    texts = [f"text {i} " * 10 for i in range(5000)]
    rows = np.random.default_rng(0).integers(5000, size=count)
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array(rows, pyarrow.int32()), texts)
    return pyarrow.table({"text": column, "label": pyarrow.array(rows % 3).cast(pyarrow.string())})


def test_a_million_rows_of_few_texts_are_read(tmp_path: Path) -> None:
    table = shared_rows(1_000_000)
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").stat().st_size < 3_000_000
    read = read_columns_as(open_source(tmp_path / "rows.parquet"), {"text": TEXT, "label": TEXT})
    assert read.num_rows == 1_000_000 and read.nbytes > 100_000_000
    for row in (0, 12_345, 999_999):
        assert read["text"][row].as_py() == table["text"][row].as_py()


@pytest.mark.parametrize(
    "how", [{"column_encoding": {"text": "DELTA_BYTE_ARRAY"}}, {"compression": "zstd"}, {}]
)
def test_every_way_to_store_texts_gives_them_back(how: dict[str, Any], tmp_path: Path) -> None:
    texts = [f"a.b {i}" * (i % 50) for i in range(3000)]
    table = pyarrow.table(
        {"a": ["x"] * 3000, "a.b": texts, "text": texts, "tokens": [text.split() for text in texts]}
    )
    pyarrow.parquet.write_table(
        table, tmp_path / "rows.parquet", use_dictionary=not how, row_group_size=999, **how
    )
    read = read_columns_as(open_source(tmp_path / "rows.parquet"), {"text": TEXT, "a.b": TEXT})
    assert read["text"].to_pylist() == read["a.b"].to_pylist() == texts


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("form", [pyarrow.ipc.new_file, pyarrow.ipc.new_stream])
def test_compressed_arrow_files_are_unpacked(form: Any, compression: str, tmp_path: Path) -> None:
    table = shared_rows(1000).append_column("none", pyarrow.nulls(1000, pyarrow.string()))
    path, options = tmp_path / "rows.arrow", pyarrow.ipc.IpcWriteOptions(compression=compression)
    with pyarrow.OSFile(str(path), "wb") as sink, form(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=300)
    unpacked = arrow_table(path)
    assert unpacked.equals(table)
    # padding of buffers to 64 bytes aside
    assert unpacked_bytes(path) == pytest.approx(unpacked.get_total_buffer_size(), rel=0.05)


def test_what_is_not_compressed_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    pyarrow.feather.write_feather(shared_rows(1000), str(path), compression="uncompressed")
    before = pyarrow.total_allocated_bytes()
    table = arrow_table(path)
    assert unpacked_bytes(path) == 0 and table.equals(shared_rows(1000))
    assert pyarrow.total_allocated_bytes() - before < BLOCK_BYTES // 100


def test_a_buffer_that_says_it_is_huge_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    pyarrow.feather.write_feather(pyarrow.table({"n": range(1000)}), str(path), compression="zstd")
    content = path.read_bytes()
    eight_bytes_each = struct.pack("<q", 8000)
    assert content.count(eight_bytes_each) == 1
    path.write_bytes(content.replace(eight_bytes_each, struct.pack("<q", 1 << 50)))
    with pytest.raises(Swollen):
        arrow_table(path)
