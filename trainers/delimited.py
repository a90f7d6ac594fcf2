"""CSV and TSV: the header, and chosen columns as strings."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow
import pyarrow.csv

from trainers.source import MOST_LISTED, Source, Stream, TaskError, listed, quoted, repeated

DELIMITERS = ",;\t|"
# A row may begin in one block and end in the next, so rows up to this size are always read.
BLOCK_BYTES = 16 << 20
HEADER_BYTES = 1 << 20
LINE = re.compile(rb'(?:[^"\r\n]|"[^"]*")*')
# NUL never occurs in a file that passed `check_text`.
END = "\0end"


class WithEnd:
    """A stream with a last row of END cells, which a quote that is never closed swallows with the rest."""

    def __init__(self, stream: Stream, end: bytes) -> None:
        self.stream, self.end, self.closed = stream, end, False

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        if not data:
            data, self.end = self.end, b""
        return data

    def close(self) -> None:
        self.closed = True


def header(source: Source) -> tuple[list[str], str, int]:
    """The column names, the delimiter, and the byte where the rows begin.

    The delimiter of a .csv is the one of `DELIMITERS` that the header holds most often, outside quotes.

    Raises:
        TaskError: if a name occurs twice, or the header does not end or is no CSV.
    """
    with source.open() as stream:
        start = stream.read(HEADER_BYTES)
    blank = re.match(rb"(?:\xef\xbb\xbf)?[\r\n]*", start)
    line = LINE.match(start, blank.end() if blank else 0)
    assert line is not None  # the pattern matches the empty string
    if line.end() == HEADER_BYTES or start[line.end() : line.end() + 1] == b'"':
        raise TaskError(
            f"the header of {source.name} does not end; is a quote in its first line never closed?"
        )
    text = line.group().decode()
    outside = re.sub(r'"[^"]*"', "", text)
    delimiter = "\t" if source.format == "tsv" else max(DELIMITERS, key=outside.count)
    try:
        names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
    except csv.Error as error:
        raise TaskError(
            f"the header of {source.name} is no CSV: {error}; quote names with quotes in them"
        ) from None
    twice = repeated(names)
    if twice:
        raise TaskError(
            f"the header of {source.name} names {listed(twice, MOST_LISTED)} more than once; "
            f"rename or delete a column so that each name is unique"
        )
    return names, delimiter, line.end()


def read_delimited(source: Source, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Blocks of the wanted columns as Arrow strings; a field that is empty and not quoted is null.

    Raises:
        TaskError: if a row has not as many fields as the header, a quote is never closed, or a row is longer
            than a block.
    """
    names, delimiter, offset = header(source)
    ragged: list[Any] = []

    def note(row: Any) -> str:
        ragged.append((row.number, row.actual_columns))
        return "skip"

    place = {name: str(i) for i, name in enumerate(names)}
    positions = [place[name] for name in wanted]
    end = "\n" + delimiter.join([END] * len(names)) + "\n"
    rows, last = 0, None
    with source.open() as stream:
        stream.seek(offset)
        try:
            for batch in batches(WithEnd(stream, end.encode()), len(names), delimiter, positions, note):
                if not batch.num_rows:
                    continue
                if last is not None:
                    yield dict(zip(wanted, last.columns, strict=True))
                rows += batch.num_rows
                last = batch
        except pyarrow.ArrowInvalid as error:
            raise TaskError(unreadable(source, str(error))) from error
        finally:
            # the reader runs ahead by 8 blocks, and Arrow would keep their memory
            pyarrow.default_memory_pool().release_unused()
    closed = last is not None and last.column(0)[-1].as_py() == END
    check_rows(source, rows, ragged, len(names), closed=closed)
    if last is not None and last.num_rows > 1:
        yield dict(zip(wanted, last.slice(0, last.num_rows - 1).columns, strict=True))


def batches(stream: WithEnd, width: int, delimiter: str, positions: Sequence[str], note: Any) -> Any:
    """Record batches of the columns at the positions; `note` is called for each row of another width."""
    return pyarrow.csv.open_csv(
        pyarrow.PythonFile(stream, mode="r"),
        # one thread: otherwise rows of a wrong width have no number
        read_options=pyarrow.csv.ReadOptions(
            column_names=[str(i) for i in range(width)], block_size=BLOCK_BYTES, use_threads=False
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={position: pyarrow.string() for position in positions},
            include_columns=list(positions),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def check_rows(
    source: Source, rows: int, ragged: Sequence[tuple[int, int]], width: int, *, closed: bool
) -> None:
    """Refuse a file whose quotes do not close, and rows of another width than the header."""
    if not closed:
        raise TaskError(
            f"a quote in {source.name} is never closed: it opens in or before row {max(rows, 1):,} "
            f'and swallows the rest of the file; close it, or double it ("") where it is part of the text'
        )
    if ragged:
        row, fields = ragged[0]
        raise TaskError(
            f"row {row:,} of {source.name} has {fields} fields, but its header has {width} columns "
            f"({len(ragged):,} such rows); put quotes around texts that contain the delimiter"
        )


def unreadable(source: Source, reason: str) -> str:
    if "straddl" in reason:
        return (
            f"a row of {source.name} is longer than {BLOCK_BYTES >> 20} MB; is a quote never closed? "
            f"Otherwise shorten that row"
        )
    return f"{source.name} is not a readable table ({quoted(reason)}); export it as CSV again, or as JSONL"
