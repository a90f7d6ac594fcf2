"""Malformed datasets: what each is called, how it is written, and a part of what is said about it."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import sqlite3
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

Write = Callable[[Path], object]


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """One dataset that cannot be used."""

    name: str
    """Of the file at fault; the message names it."""
    write: Write
    """Writes the file at this path."""
    says: str
    """Part of the message; empty where only its form is checked."""
    beside: dict[str, bytes] = field(default_factory=dict)
    """Other files of the folder."""
    options: dict[str, str] = field(default_factory=dict)
    """Split -> name of the file that is given for it."""


def text(name: str, content: str | bytes, says: str, **more: Any) -> Malformed:
    """A file with this content."""
    data = content.encode() if isinstance(content, str) else content
    return Malformed(name=name, write=lambda path: path.write_bytes(data), says=says, **more)


def large(name: str, start: bytes, part: bytes, times: int, says: str) -> Malformed:
    """A file of so many equal parts; they are put together when it is written."""
    return Malformed(name=name, write=lambda path: path.write_bytes(start + part * times), says=says)


def table(name: str, columns: dict[str, Any], says: str) -> Malformed:
    """A Parquet file with these columns."""
    return Malformed(
        name=name, write=lambda path: pyarrow.parquet.write_table(pyarrow.table(columns), path), says=says
    )


def made(name: str, write: Write, says: str, **more: Any) -> Malformed:
    return Malformed(name=name, write=write, says=says, **more)


SOUND = b"text,label\n" + b"".join(b"text %d,%s\n" % (i, b"xy"[i % 2 : i % 2 + 1]) for i in range(40))


def sound_table() -> pyarrow.Table:
    return pyarrow.table({"text": [f"text {i}" for i in range(400)], "label": ["x", "y"] * 200})


def sound_parquet(**how: Any) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(sound_table(), stream, **how)
    return stream.getvalue()


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", content)
    return stream.getvalue()


def lines(rows: list[Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def nested(depth: int, opening: str, closing: str) -> str:
    return opening * depth + "1" + closing * depth


def listening(path: Path) -> None:
    """A socket; its name may not be longer than 100 bytes, so it is bound in its folder."""
    back = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(back)


def database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table rows (text, label)")
    connection.close()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 << 30)


ENCODINGS = [
    text("half-utf-16.csv", SOUND.decode().encode("utf-16-le") + b"\n", "line 1 holds the byte 0x00"),
    text("odd-utf-16.csv", b"\xff\xfe" + SOUND.decode().encode("utf-16-le")[:-1], ""),
    text("overlong.csv", SOUND + b"\xc0\xaf,x\n", "line 42 holds the byte 0xc0"),
    text("half-pairs-as-bytes.csv", SOUND + b"\xed\xa0\xbd\xed\xb8\x80,x\n", "line 42 holds the byte 0xed"),
    text("beyond-unicode.csv", SOUND + b"\xf5\x80\x80\x80,x\n", "line 42 holds the byte 0xf5"),
    text("shift-jis.csv", "text,label\n挨拶,語\n".encode("shift-jis"), "line 2 holds the byte 0x88"),
    text("cut-at-the-end.csv", SOUND + "é".encode()[:1], "line 42 holds the byte 0xc3"),
    text(
        "late-byte.jsonl",
        b'{"text": "a", "label": "x"}\n' * 50_000 + b"\xff",
        "line 50001 holds the byte 0xff",
    ),
    text("late-nul.csv", SOUND * 3000 + b"\0", "holds the byte 0x00"),
    text("only-a-mark.csv", "\ufeff", "is empty"),
    text("two-marks.csv", "\ufeff\ufefftext,label,id\na,x,1\n", "cannot tell the columns"),
    text("control-characters.csv", b"\x1b]0;title\x07text,\x1b[31mlabel\na,x\n", "cannot tell the columns"),
]

OTHER_FORMATS = [
    made("archive.csv", lambda path: path.write_bytes(zipped(SOUND)), "holds the byte 0x"),
    made("bomb.zip", lambda path: path.write_bytes(zipped(b"a" * 10_000_000)), "extension '.zip'"),
    text("packed.csv", gzip.compress(SOUND), "holds the byte 0x"),
    text("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "holds the byte 0x89"),
    text("program.csv", b"\x7fELF\x02\x01\x01" + bytes(60), "holds the byte 0x00"),
    text("document.csv", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "holds the byte 0xe2"),
    made("database.csv", database, "holds the byte 0x"),
    text("page.csv", "<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "cannot tell the columns"),
    text("page.json", "<!DOCTYPE html>\n<html></html>\n", "not valid JSON at line 1"),
    text("pickle.parquet", b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.", "not a readable Parquet file"),
    text("no-ending", SOUND, "extension ''"),
    text("cut.csv.gz", gzip.compress(SOUND)[:-9], ""),
    text("garbage.csv.gz", b"\x1f\x8b\x08" + bytes(30), ""),
    text("not-packed.csv.gz", SOUND, ""),
    text("garbage.jsonl.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 40, ""),
]

TABLES = [
    text("names-of-spaces.csv", " , ,label\na,b,x\n", "more than once"),
    text("no-names.csv", ",\na,x\n", "more than once"),
    text("names-differ-by-spaces.csv", "text, text ,label\na,b,x\n", "'text' more than once"),
    large("a-name-of-two-megabytes.csv", b"text,", b"l", 2_000_000, "does not end"),
    text(
        "many-columns.csv",
        ",".join(f"c{i}" for i in range(2000)) + "\n" + "1," * 1999 + "1\n",
        "and 1,980 more",
    ),
    text("only-delimiters.csv", ",,,\n,,,\n", "more than once"),
    text("only-quotes.csv", '""\n""\n', ""),
    text("blank-rows.csv", "text,label\n\n\n\n", "has no rows"),
    text("rows-of-nothing.csv", "text,label\n" + ",\n" * 50, "no text in 50 of 50 rows"),
    text("wide-row.csv", SOUND + b"a" + b"," * 10_000 + b"\n", "row 41 of"),
    large("every-row-ragged.csv", b"text,label\n", b"a,b,x\n", 50_000, "(50,000 such rows)"),
    text("unquoted-commas.csv", "text,label\nyes, I did,x\nno,y\n", "put quotes around texts"),
    large("late-open-quote.csv", SOUND + b'"', b"a,x\n", 100_000, "never closed"),
    large("open-quote-over-a-block.csv", SOUND + b'"', b"a,x\n", 5_000_000, "never closed"),
    text("labels-missing-late.csv", SOUND * 20 + b"last,\n", "no label"),
    large("long-label.csv", b"text,label\na,", b"x", 10_000_000, "one label only ('xxx"),
    text(
        "formulas-as-labels.csv",
        "text,label\n" + "".join(f"a,=1+cmd|' /C calc'!A{i}\n" for i in range(9)),
        "",
    ),
    text("turned-names.csv", "\u202etxet,\u200blabel\u2066\na,x\n", "cannot tell the columns"),
    text("names-over-lines.csv", '"te\nxt","la\r\nbel"\na,x\n', "cannot tell the columns"),
    text("ids.csv", "text,label\n" + "".join(f"t{i},{i}\n" for i in range(5000)), "5,000"),
    text("huge-class-count.csv", "text,label\n" + "".join(f"t{i},c{i // 2}\n" for i in range(4000)), "2,000"),
    text("one-row.csv", "text,label\na,x\n", "one label only"),
    text(
        "mixed-types.jsonl",
        lines([{"text": "a", "label": 1}, {"text": {"b": 1}, "label": [2]}] * 3),
        "row 2 of",
    ),
    text("wrong-delimiter.tsv", SOUND, ""),
]

JSON = [
    text("no-objects.json", "[]", "has no rows"),
    text("empty-objects.json", "[{}, {}]", ""),
    text("number.json", "5", "not an object"),
    text("null.jsonl", "null\n", "not an object"),
    text("text.json", '"text"', "not an object"),
    text("columns-not-rows.json", json.dumps({"text": ["a", "b"], "label": ["x", "y"]}), ""),
    text("rows-inside.json", json.dumps({"data": [{"text": "a", "label": "x"}]}), "name them with --text"),
    text(
        "rows-inside-over-lines.json",
        json.dumps({"data": [{"text": "a"}]}, indent=1),
        "not valid JSON at line 1",
    ),
    text(
        "commas-between-lines.jsonl", '{"text": "a", "label": "x"},\n{"text": "b", "label": "y"}\n', "line 1"
    ),
    text(
        "two-on-a-line.jsonl", '{"text": "a", "label": "x"}{"text": "b", "label": "y"}\n', "line 1, column 28"
    ),
    text("single-quotes.jsonl", "{'text': 'a', 'label': 'x'}\n", "line 1, column 2"),
    text("python-values.jsonl", '{"text": "a", "label": True}\n', "line 1"),
    text("comment.json", '// rows\n[{"text": "a", "label": "x"}]', "not valid JSON at line 1"),
    text("trailing-comma.json", '[{"text": "a", "label": "x"},]', "not valid JSON at line 1"),
    text("cut-escape.jsonl", '{"text": "\\u12', "not valid JSON at line 1"),
    text("raw-control.jsonl", '{"text": "a\x01b", "label": "x"}', "not valid JSON at line 1"),
    text(
        "cut-at-the-end.jsonl", lines([{"text": "a", "label": "x"}] * 9) + '\n{"text": "b", "lab', "line 10"
    ),
    text("half-label.jsonl", '{"text": "a", "label": "\\udc00"}', "\\udc00"),
    text("turned-pair.jsonl", '{"text": "\\ude00\\ud83d", "label": "x"}', "\\ude00"),
    text("half-in-a-name.jsonl", '{"te\\ud800xt": "a", "b": "x", "c": 1}', "cannot tell the columns"),
    text("deep-brackets.json", nested(100_000, "[", "]"), "not valid JSON"),
    text("deep-objects.jsonl", nested(100_000, '{"text":', "}"), "not valid JSON"),
    text("deep-label.jsonl", '{"text": "a", "label": ' + nested(900, "[", "]") + "}", ""),
    large("never-closed.json", b"", b"[", 5_000_000, "not valid JSON"),
    text("label-shows-late.jsonl", '{"text": "a"}\n' * 1500 + '{"text": "b", "label": "x"}', ""),
    text("infinite-labels.jsonl", '{"text": "a", "label": Infinity}\n{"text": "b", "label": 1e999}\n', ""),
    text(
        "numbers-without-end.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "not valid JSON at line 1"
    ),
]

PARQUET = [
    text("cut.parquet", sound_parquet()[:-40], "not a readable Parquet file"),
    text("halved.parquet", sound_parquet()[:200], "not a readable Parquet file"),
    text("only-magic.parquet", b"PAR1PAR1", "not a readable Parquet file"),
    text(
        "wrong-footer.parquet", sound_parquet()[:-8] + b"\xff\xff\xff\x7fPAR1", "not a readable Parquet file"
    ),
    text("not-utf-8.parquet", sound_parquet(compression="none").replace(b"text 1", b"text \xff"), ""),
    text("empty.parquet", b"", "not a readable Parquet file"),
    table("no-rows.parquet", {"text": pyarrow.array([], pyarrow.string()), "label": []}, "has no rows"),
    table("no-columns.parquet", {}, ""),
    table("bytes.parquet", {"text": [b"\xff\xfe", b"b"], "label": ["x", "y"]}, "row 1 of column 'text'"),
    table("structs.parquet", {"text": [{"a": 1}] * 2, "label": ["x", "y"]}, "row 1 of column 'text'"),
    table(
        "times.parquet", {"text": ["a", "b"], "label": [datetime(2020, 1, 1)] * 2}, "row 1 of column 'label'"
    ),
    table("decimals.parquet", {"text": ["a", "b"], "label": [Decimal("1.5")] * 2}, ""),
    table("nulls.parquet", {"text": ["a", "b"], "label": pyarrow.nulls(2)}, "no label in 2 of 2"),
    table("nan-labels.parquet", {"text": ["a", "b"], "label": [float("nan")] * 2}, "no label in 2 of 2"),
    table("null-texts.parquet", {"text": pyarrow.nulls(2), "label": ["x", "y"]}, "no text in 2 of 2"),
]

NO_FILES = [
    made("folder.parquet", Path.mkdir, "is a folder"),
    made("nowhere.csv", lambda path: path.symlink_to("gone.csv"), "does not exist"),
    made("circle.csv", lambda path: path.symlink_to(path.name), "does not exist"),
    made("to-a-folder.jsonl", lambda path: path.symlink_to("."), "is a folder"),
    made("without-end.csv", lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    made("nothing.csv", lambda path: path.symlink_to("/dev/null"), "not a regular file"),
    made("socket.csv", listening, "not a regular file"),
    made("sparse.csv", sparse, "line 1 holds the byte 0x00"),
    made("\x1b[31mred\n.csv", lambda path: None, "?[31mred?.csv does not exist"),
    made("\udcff.csv", lambda path: None, "?.csv does not exist"),
    made("nul\0.csv", lambda path: None, "nul?.csv does not exist"),
    made("n" * 300 + ".csv", lambda path: None, "cannot be a file"),
]

SPLITS = [
    text("empty.csv", b"", "is empty", beside={"t.csv": SOUND}, options={"validation": "empty.csv"}),
    text("v.csv", b"text,label\n", "has no rows", beside={"t.csv": SOUND}, options={"test": "v.csv"}),
    text(
        "v.csv",
        b"text,label\na,z\n",
        "never occur in the training",
        beside={"t.csv": SOUND},
        options={"test": "v.csv"},
    ),
    text(
        "v.csv",
        b"body,label\na,x\n",
        "no column 'text'",
        beside={"t.csv": SOUND},
        options={"validation": "v.csv"},
    ),
    text(
        "v.csv",
        b"text,label\na,\n",
        "no label in 1 of 1",
        beside={"t.csv": SOUND},
        options={"validation": "v.csv"},
    ),
    made("v", Path.mkdir, "is a folder", beside={"t.csv": SOUND}, options={"validation": "v"}),
    text(
        "v.json",
        b'[{"text": null, "label": "x"}]',
        "no text in 1 of 1",
        beside={"t.csv": SOUND},
        options={"test": "v.json"},
    ),
]

EVERY = [*ENCODINGS, *OTHER_FORMATS, *TABLES, *JSON, *PARQUET, *NO_FILES, *SPLITS]
