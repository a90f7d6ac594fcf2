"""Whatever a file holds, its reader answers with rows or with one line of advice, in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malformed import EVERY, SOUND, Malformed, lines, sound_parquet

from trainers.source import shown
from trainers.task import TaskError, read_task

LONGEST_MESSAGE = 700
"""Characters; a message is read, not searched."""
MOST_MEGABYTES = 600
"""A process that has imported pyarrow holds 100 MB; blocks of 16 MB, and copies of them, come on top."""


def param(case: Malformed) -> Any:
    return pytest.param(case, id=shown(f"{case.name[:40]}{'-split' if case.options else ''}"))


def assert_helpful(message: str, name: str) -> None:
    assert shown(name) in message
    assert message.isprintable() and len(message) < LONGEST_MESSAGE


def test_there_are_at_least_sixty() -> None:
    assert len(EVERY) >= 60


@pytest.mark.parametrize("case", [param(case) for case in EVERY])
def test_a_malformed_dataset_is_named_with_what_is_wrong(case: Malformed, tmp_path: Path) -> None:
    case.write(tmp_path / case.name)
    for name, content in case.beside.items():
        (tmp_path / name).write_bytes(content)
    train = tmp_path / ("t.csv" if case.beside else case.name)
    given_splits = {split: tmp_path / name for split, name in case.options.items()}
    with pytest.raises(TaskError) as caught:
        read_task(train, **given_splits)
    assert_helpful(str(caught.value), case.name)
    assert case.says in str(caught.value)


# ---------------------------------------------------------------------------------- bombs


def swelling_gzip(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        file.write(b"text,label\n")
        for _ in range(100):
            file.write((b"a" * 98 + b",x\n" + b"a" * 98 + b",y\n") * 25_000)


def long_texts() -> pyarrow.Array:
    """1,000 rows of one megabyte each, which share their text."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1000, pyarrow.int32()), ["a" * 1_000_000])


def swelling(texts: pyarrow.Array, path: Path, **how: Any) -> None:
    labels = pyarrow.array(["x"]).take(pyarrow.array([0] * len(texts)))
    rows = pyarrow.table({"text": texts, "label": labels})
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(rows, path, **how)
    else:
        pyarrow.feather.write_feather(rows, str(path), **how)


def shared_beginnings(path: Path) -> None:
    """Each text is stored as what it adds to the one before, which is nothing."""
    swelling(
        long_texts().dictionary_decode()[:300], path, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"
    )


BOMBS: dict[str, Callable[[Path], None]] = {
    "rows.csv.gz": swelling_gzip,
    "dictionary.parquet": lambda path: swelling(long_texts(), path),
    "pages.parquet": lambda path: swelling(
        long_texts().dictionary_decode()[:300], path, use_dictionary=False, compression="zstd"
    ),
    "beginnings.parquet": shared_beginnings,
    "words.parquet": lambda path: swelling(pyarrow.array([["a" * 100_000] * 3000] * 2), path),
    "rows.parquet": lambda path: swelling(pyarrow.array(["a"]).take(pyarrow.array([0] * 20_000_000)), path),
    "dictionary.arrow": lambda path: swelling(long_texts(), path, compression="uncompressed"),
    "packed.arrow": lambda path: swelling(long_texts().dictionary_decode()[:300], path, compression="zstd"),
}
READ = """
import sys
from pathlib import Path
from trainers.task import TaskError, read_task
for name in sys.argv[1:]:
    try:
        read_task(Path(name))
    except TaskError as error:
        print(error)
(peak,) = (row.split()[1] for row in open("/proc/self/status") if row.startswith("VmHWM"))
print(int(peak) >> 10)
"""


def test_small_files_that_swell_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    for name, write in BOMBS.items():
        write(tmp_path / name)
        assert (tmp_path / name).stat().st_size < 4_000_000
    done = subprocess.run(
        [sys.executable, "-c", READ, *(str(tmp_path / name) for name in BOMBS)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    *messages, megabytes = done.stdout.splitlines()
    for name, message in zip(BOMBS, messages, strict=True):
        assert name in message and "over 200 times larger" in message and "if it is sound" in message
    assert int(megabytes) < MOST_MEGABYTES
    assert {path.name for path in tmp_path.iterdir()} == set(BOMBS)  # nothing is left behind


# --------------------------------------------------------------------------------- any file


FORMS: dict[str, bytes] = {
    "any.csv": SOUND,
    "any.tsv": SOUND.replace(b",", b"\t"),
    "any.jsonl": lines([{"text": f"text {i}", "label": "xy"[i % 2]} for i in range(40)]).encode(),
    "any.json": json.dumps([{"text": f"text {i}", "label": "xy"[i % 2]} for i in range(40)]).encode(),
    "any.parquet": sound_parquet(),
    "plain.parquet": sound_parquet(compression="none", use_dictionary=False),
}
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 8), st.binary(max_size=4)), min_size=1, max_size=8
)
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


def read_or_advise(path: Path) -> None:
    try:
        read_task(path)
    except TaskError as error:
        assert_helpful(str(error), path.name)


@given(name=st.sampled_from(sorted(FORMS)), edits=EDITS)
@QUICK
def test_a_damaged_file_gives_rows_or_advice(
    name: str, edits: list[tuple[int, int, bytes]], tmp_path: Path
) -> None:
    content = bytearray(FORMS[name])
    for start, dropped, added in edits:
        position = start % len(content)
        content[position : position + dropped] = added
    (tmp_path / name).write_bytes(content)
    read_or_advise(tmp_path / name)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    rows=st.lists(
        st.fixed_dictionaries({"text": VALUES, "label": VALUES}, optional={"id": VALUES}),
        min_size=1,
        max_size=6,
    ),
    ending=st.sampled_from([".jsonl", ".json"]),
)
@QUICK
def test_a_table_of_any_values_gives_rows_or_advice(
    rows: list[dict[str, Any]], ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"any{ending}"
    path.write_text(json.dumps(rows) if ending == ".json" else lines(rows))
    read_or_advise(path)


@given(
    names=st.lists(st.text(), min_size=1, max_size=4),
    cells=st.lists(st.lists(st.text(), max_size=5), max_size=6),
    delimiter=st.sampled_from(",;\t|"),
)
@QUICK
def test_a_table_of_any_cells_gives_rows_or_advice(
    names: list[str], cells: list[list[str]], delimiter: str, tmp_path: Path
) -> None:
    table = "\n".join(delimiter.join(row) for row in [["text", "label"], names, *cells])
    path = tmp_path / "any.csv"
    path.write_bytes(table.encode())
    read_or_advise(path)


@given(
    texts=st.lists(st.one_of(st.none(), st.binary(max_size=9)), min_size=4, max_size=8),
    type=st.sampled_from(
        [pyarrow.binary(), pyarrow.large_binary(), pyarrow.string(), pyarrow.large_string()]
    ),
)
@QUICK
def test_a_parquet_column_of_any_bytes_gives_rows_or_advice(
    texts: list[bytes | None], type: pyarrow.DataType, tmp_path: Path
) -> None:
    """Arrow writes any bytes into a column of texts when it is told that they are texts."""
    column = pyarrow.array(texts, pyarrow.binary()).cast(pyarrow.large_binary())
    column = column.cast(pyarrow.binary()) if type in (pyarrow.binary(), pyarrow.string()) else column
    labels = ["x", "y"] * len(texts)
    path = tmp_path / "any.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"text": column.view(type), "label": labels[: len(texts)]}), path
    )
    read_or_advise(path)
