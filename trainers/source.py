"""A file or stream that a user gave: its name in messages, its format, and whether it is readable text."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path

Stream = BufferedReader | BytesIO
"""A binary stream."""
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
CHUNK_BYTES = 1 << 20
LONGEST_QUOTE = 60
MOST_LISTED = 5


class TaskError(ValueError):
    """A mistake in the user's data or arguments; its message is one line that is shown as it is."""


@dataclass(frozen=True)
class Source:
    """One input that can be opened several times."""

    name: str
    """As messages show it."""
    format: str
    path: Path | None
    content: bytes = b""
    """What a stream held; a file is read from its path."""

    def open(self) -> Stream:
        return self.path.open("rb") if self.path else BytesIO(self.content)


def open_source(given: Path | Stream) -> Source:
    """The checked source of a path or a binary stream.

    A path's format goes by its extension; a stream is JSON where its first character is `{` or `[`, else CSV.

    Raises:
        TaskError: if it is not a readable file, of no known format, empty, or text that is not UTF-8.
    """
    source = source_of_path(given) if isinstance(given, Path) else source_of_stream(given)
    try:
        if source.format == "parquet":
            return source
        check_text(source)
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise TaskError(f"cannot read {source.name}: {reason}. Check its permissions.") from error
    return source


def source_of_path(path: Path) -> Source:
    name = shown(str(path))
    if path.is_dir():
        raise TaskError(f"{name} is a folder, not a file; give one of the files in it ({listed(FORMATS)})")
    if not path.exists():
        raise TaskError(
            f"{name} does not exist; check the path (looked in {shown(str(path.absolute().parent))})"
        )
    if not path.is_file():
        raise TaskError(f"{name} is not a regular file; copy the data into a file ({listed(FORMATS)})")
    if path.suffix.lower() not in FORMATS:
        raise TaskError(
            f"{name} has the extension {quoted(path.suffix)}, but only {listed(FORMATS)} are read; "
            f"convert the file, or rename it when it is one of these"
        )
    return Source(name, FORMATS[path.suffix.lower()], path)


def source_of_stream(stream: Stream) -> Source:
    content = stream.read()
    first = content.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return Source("standard input", "json" if first in (b"{", b"[") else "csv", None, content)


def check_text(source: Source) -> None:
    """Refuse an empty file, and one with a byte that is NUL or not UTF-8; holds one chunk at a time."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    lines, blank = 1, True
    with source.open() as stream:
        while True:
            chunk = stream.read(CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line = lines + error.object[: error.start].count(b"\n")
                raise TaskError(not_utf8(source.name, line, error.object[error.start])) from error
            if "\0" in text:
                line = lines + text[: text.index("\0")].count("\n")
                raise TaskError(not_utf8(source.name, line, 0))
            blank = blank and not text.strip()
            lines += text.count("\n")
            if not chunk:
                break
    if blank:
        raise TaskError(f"{source.name} is empty; give a file with one example in each row")


def not_utf8(name: str, line: int, byte: int) -> str:
    return (
        f"{name} is not UTF-8 text: line {line} holds the byte 0x{byte:02x}; save it as UTF-8 "
        f"(in a spreadsheet: 'CSV UTF-8'; on a command line: iconv -t utf-8)"
    )


def shown(text: str) -> str:
    """The text on one line: control characters and line ends become a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)


def quoted(value: object) -> str:
    """The value in quotes on one line, shortened with an ellipsis."""
    text = shown(str(value))
    return repr(text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…")


def listed(values: Iterable[object], most: int | None = None) -> str:
    """The values with commas, and beyond the `most` how many there are more."""
    every = [str(value) for value in values]
    if most is None or len(every) <= most:
        return ", ".join(every)
    return f"{', '.join(every[:most])} and {len(every) - most:,} more"


def numbered(rows: Iterable[int]) -> str:
    """Row numbers for a message, counted from 1 below the header: "row 3" or "rows 3, 8 and 12 more"."""
    every = [row + 1 for row in rows]
    return f"row{'s' if len(every) > 1 else ''} {listed(every, MOST_LISTED)}"
