"""Files in every format, and what a user is told about a malformed one."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainers.reading import columns_of, read_columns, read_texts
from trainers.source import TaskError, open_source
from trainers.task import read_task

ROWS = [
    {"text": "plain", "label": "a"},
    {"text": 'a "quote", a comma', "label": "b"},
    {"text": "two\nlines; and é🙂", "label": "a"},
    {"text": " spaces\tand a tab ", "label": "b"},
]


def csv_of(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in cells]
    return "\n".join(delimiter.join(line) for line in quoted)


def write_parquet(path: Path, rows: list[dict[str, str]]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "comma.csv": lambda path: path.write_text(csv_of(ROWS)),
    "semicolon.csv": lambda path: path.write_text(csv_of(ROWS, ";")),
    "bar.csv": lambda path: path.write_text(csv_of(ROWS, "|")),
    "tab.tsv": lambda path: path.write_text(csv_of(ROWS, "\t")),
    "mark.csv": lambda path: path.write_text(csv_of(ROWS), encoding="utf-8-sig"),
    "lines.jsonl": lambda path: path.write_text("\n\n".join(map(json.dumps, ROWS))),
    "mark.ndjson": lambda path: path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8-sig"),
    "list.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "lines.json": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "table.parquet": lambda path: write_parquet(path, ROWS),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    source = open_source(tmp_path / name)
    assert columns_of(source) == ["text", "label"]
    columns = read_columns(source, ["text", "label"])
    assert columns == {key: [row[key] for row in ROWS] for key in ("text", "label")}


@pytest.mark.parametrize("content", [csv_of(ROWS), "\n".join(map(json.dumps, ROWS)), json.dumps(ROWS)])
def test_the_format_of_a_stream_is_told_by_its_first_character(content: str) -> None:
    assert read_texts(io.BytesIO(content.encode()), "text") == (tuple(row["text"] for row in ROWS), None)


def test_texts_for_prediction_need_no_label(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("id,premise,hypothesis\n1,It rains.,It is wet.\n2,,no\n")
    with pytest.raises(TaskError, match=r"'premise' of .*new.csv has no text in 1 of 2 rows \(row 2\)"):
        read_texts(path, "premise", "hypothesis")
    path.write_text("id,premise,hypothesis\n1,It rains.,It is wet.\n")
    assert read_texts(path, "premise", "hypothesis") == (("It rains.",), ("It is wet.",))


def test_a_cell_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("text,label\n" + "x" * 10_000_000 + ",a\ny,b\n")
    columns = read_columns(open_source(tmp_path / "long.csv"), ["text", "label"])
    assert [len(text) for text in columns["text"]] == [10_000_000, 1]


def test_a_table_of_twenty_thousand_columns_is_read(tmp_path: Path) -> None:
    # looking for each name among all others took minutes
    numbers = ",".join(map(str, range(20_000)))
    path = tmp_path / "wide.csv"
    path.write_text(f"text,label,{numbers}\n" + f"a,x,{numbers}\nb,y,{numbers}\n" * 2)
    assert len(columns_of(open_source(path))) == 20_002
    assert read_task(path, path, path).labels == ("x", "y")


def test_numbers_and_truth_values_become_labels(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": value} for value in (1, 1.0, True, True, " 2 ", 2)]
    (tmp_path / "mixed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = read_task(tmp_path / "mixed.jsonl", tmp_path / "mixed.jsonl", tmp_path / "mixed.jsonl")
    assert task.labels == ("1", "2", "true")


@given(cells=st.lists(st.tuples(st.text(), st.text(min_size=1)), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_quoted_text_survives_a_csv(cells: list[tuple[str, str]], tmp_path: Path) -> None:
    rows = [{"text": "first", "label": "a"}, *({"text": text, "label": label} for text, label in cells)]
    (tmp_path / "any.csv").write_bytes(csv_of(rows).encode())
    if any("\0" in text + label for text, label in cells):
        with pytest.raises(TaskError, match="0x00"):
            open_source(tmp_path / "any.csv")
        return
    columns = read_columns(open_source(tmp_path / "any.csv"), ["text", "label"])
    assert list(zip(columns["text"], columns["label"], strict=True)) == [("first", "a"), *cells]


@given(
    content=st.binary(max_size=200),
    ending=st.sampled_from(
        [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".csv.gz", ".jsonl.zst"]
    ),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_any_bytes_give_rows_or_one_line_of_advice(content: bytes, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"any{ending}"
    path.write_bytes(b"text,label\n" * (ending == ".csv") + content)
    try:
        read_task(path)
    except TaskError as error:
        assert path.name in str(error) and str(error).isprintable()


MALFORMED: dict[str, tuple[str, bytes, str, str]] = {
    # what: (file, content, what the message says is wrong, the way out)
    "empty": ("t.csv", b"", "is empty", "one example in each row"),
    "blank": ("t.jsonl", b" \n\n", "is empty", "one example in each row"),
    "header only": ("t.csv", b"text,label\n", "has no rows", "one example in each row"),
    "latin-1": (
        "t.csv",
        b"text,label\na,x\ncaf\xe9,y\n",
        "line 3 holds the byte 0xe9; it may be cp1252",
        "-f cp1252 -t utf-8",
    ),
    "half of utf-16": (
        "t.csv",
        "text,label\na,b\n".encode("utf-16")[:-1],
        "begins like UTF-16 text, but is not",
        "save it as UTF-8",
    ),
    "cut character": ("t.jsonl", b'{"text": "\xc3', "line 1 holds the byte 0xc3", "save it as UTF-8"),
    "NUL": ("t.csv", b"text,label\na,x\nb\0,y\n", "line 3 holds the byte 0x00", "save it as UTF-8"),
    "duplicate header": ("t.csv", b"text,label,text\na,x,b\n", "'text' more than once", "rename or delete"),
    "long row": ("t.csv", b"text,label\na,x\na,x,y\n", "row 2 of", "put quotes around texts"),
    "short row": ("t.csv", b"text,label\na,x\nb\nc\n", "(2 such rows)", "put quotes around texts"),
    "open quote": ("t.csv", b'text,label\na,x\n"b,y\nc,x\n', "never closed", "double it"),
    "open header": ("t.csv", b'text,"label\na,x\n', "header of", "never closed"),
    "long cell": ("t.csv", b"text,label\n" + b"x" * (33 << 20) + b",a\n", "longer than 16 MB", "shorten"),
    "broken line": ("t.jsonl", b'{"text": "a", "label": "x"}\n{"text": \n', "line 2", "on each line"),
    "broken list": ("t.json", b'[{"text": "a"},\n{"text": ]', "line 2, column 10", "on each line"),
    "not an object": (
        "t.jsonl",
        b'{"text": "a", "label": "x"}\n["b", "y"]\n',
        "line 2",
        "write each example",
    ),
    "list of texts": ("t.json", b'["a", "b"]', "item 1", "write each example"),
    "deep": ("t.jsonl", b"[" * 100_000, "not valid JSON at line 1", "on each line"),
    "huge number": ("t.jsonl", b'{"text": ' + b"9" * 5000 + b"}", "not valid JSON at line 1", "on each line"),
    "half a character": (
        "t.jsonl",
        b'{"text": "\\ud800", "label": "x"}',
        "row 1 of column 'text'",
        "write the whole one",
    ),
    "labels of a pair in a list": (
        "t.jsonl",
        b'{"text1": "a", "text2": "b", "label": ["x"]}',
        "holds a list",
        "another column",
    ),
    "list with a gap": (
        "t.jsonl",
        b'{"text": "a", "label": ["x", null]}',
        "item 2 is missing",
        "leave it out",
    ),
    "no objects": ("t.json", b"[]", "has no rows", "one example in each row"),
    "missing key": ("t.jsonl", b'{"text": "a", "label": "x"}\n{"text": "b"}', "no label in 1 of 2", "drop"),
    "null text": ("t.jsonl", b'{"text": null, "label": "x"}', "no text in 1 of 1", "drop"),
    "NaN label": ("t.jsonl", b'{"text": "a", "label": NaN}', "no label in 1 of 1", "drop"),
    "blank labels": ("t.csv", b"text,label\n" + b"a, \n" * 9, "rows 1, 2, 3, 4, 5 and 4 more", "--label"),
    "blank texts": ("t.csv", b'text,label\n"",x\n" ",y\n', "every text", "--text"),
    "not parquet": ("t.parquet", b"text,label\na,x\n", "not a readable Parquet", "use JSONL"),
    "other extension": ("t.xlsx", b"PK", "extension '.xlsx'", ".csv, .tsv, .jsonl"),
    "unknown columns": ("t.csv", b"a,b,c\n1,2,3\n", "cannot tell the columns", "--text"),
    "one class": ("t.csv", b"text,label\na,x\nb,x\n", "one label only ('x')", "--label"),
    "ids as labels": ("t.csv", b"text,label\na,1\nb,2\nc,3\n", "3 different labels in 3 rows", "--label"),
    "numbers as ids": ("t.csv", b"text,label\na,1\nb,2\nc,3\n", "Is it an id", "--task regression"),
    "one number": ("t.csv", b"text,label\na,0.5\nb,0.5\n", "one number only ('0.5')", "--label"),
    "words without tags": (
        "t.jsonl",
        b'{"tokens": ["a", "b"], "tags": ["x", "y"]}\n{"tokens": ["a", "b"], "tags": ["x"]}',
        "row 2 of",
        "each word needs one tag",
    ),
    "rare label": ("t.csv", b"text,label\na,x\nb,x\nc,y\n", "single row", "--test"),
    "one text": ("t.csv", b"text,label\n" + b"a,x\na,y\n" * 5, "no test split can be made", "pass --test"),
    "too many labels": (
        "t.csv",
        b"text,label\n" + b"".join(b"t,%d\n" % (i // 2) for i in range(2002)),
        "1,001 different labels",
        "at most 1,000",
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_file_is_named_with_a_way_out(what: str, tmp_path: Path) -> None:
    name, content, wrong, way_out = MALFORMED[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError) as caught:
        read_task(tmp_path / name)
    message = str(caught.value)
    assert name in message and wrong in message and way_out in message
    assert message.isprintable() and len(message) < 700


def test_texts_of_a_parquet_file_that_are_no_utf_8_are_told(tmp_path: Path) -> None:
    wrong = pyarrow.array([b"caf\xe9", b"b"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": wrong, "label": ["x", "y"]}), tmp_path / "t.parquet")
    with pytest.raises(TaskError, match=r"t.parquet is not a readable Parquet file.*use JSONL"):
        read_task(tmp_path / "t.parquet")


def test_what_is_no_file_is_named_with_a_way_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name, wrong in (("pipe.csv", "regular"), ("folder.csv", "folder"), ("none.csv", "does not exist")):
        with pytest.raises(TaskError, match=rf"{name} .*{wrong}.*(\.csv|check the path)"):
            open_source(tmp_path / name)


def test_a_name_that_is_no_path_is_told() -> None:
    with pytest.raises(TaskError, match=r"nnn\.csv cannot be a file \(File name too long\); check the path"):
        read_task(Path("n" * 300 + ".csv"))


def test_a_missing_column_is_answered_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("words,answer\na,x\n")
    with pytest.raises(TaskError, match="no column 'text'; it has 'words', 'answer'"):
        read_texts(tmp_path / "t.csv", "text")
