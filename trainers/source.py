"""A file or stream that a user gave: its name in messages, its format, and whether it is readable text."""

from __future__ import annotations

import codecs
import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader, BytesIO
from pathlib import Path

import pyarrow

from trainers.arrow_files import arrow_table
from trainers.decoding import NotUtf8, check_utf8, guess
from trainers.encodings import Reading
from trainers.errors import TaskError as TaskError
from trainers.unpacking import BROKEN, COMPRESSIONS, MOST_GROWTH, Swollen, encoding_of, recoded, unpacked

Stream = BufferedReader | BytesIO
"""A binary stream."""
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
BINARY = ("parquet", "arrow")
TEXT_FORMATS = ("csv", "tsv")
LONGEST_QUOTE = 60
MOST_LISTED = 5


@dataclass(frozen=True)
class Source:
    """One input that can be opened several times."""

    name: str
    """As messages show it."""
    format: str
    path: Path | None
    content: bytes = b""
    """What a stream held; a file is read from its path."""
    table: pyarrow.Table | None = None
    """The rows of what is no file of text: Arrow, a saved dataset, an object in Python."""
    title: str = ""
    """File name without folders, for words in a study."""
    encoding: str = ""
    """What the text was in, as messages say it; empty for UTF-8."""
    guessed: bool = False
    """Whether that was told by the text itself, without a byte order mark."""

    @property
    def stem(self) -> str:
        """The title without its known endings."""
        return self.title.removesuffix(ending_of(Path(self.title)))

    @property
    def size(self) -> int:
        """Bytes of the file, or of the table in memory."""
        if self.path is not None:
            return self.path.stat().st_size
        return len(self.content) if self.table is None else int(self.table.get_total_buffer_size())

    def open(self) -> Stream:
        return self.path.open("rb") if self.path else BytesIO(self.content)


def ending_of(path: Path) -> str:
    """The ending that tells the format, with that of a compression after it, such as ".csv" or ".csv.gz"."""
    if path.suffix.lower() in COMPRESSIONS:
        return path.with_suffix("").suffix + path.suffix
    return path.suffix


def open_source(given: Path | Stream) -> Source:
    """The checked source of a path or a binary stream.

    A path's format goes by its extension; a stream is JSON where its first character is `{` or `[`, else CSV.
    A compressed file is unpacked, and text that is not UTF-8 recoded, into a temporary file that goes with
    the source.

    Raises:
        TaskError: if it is not a readable file, of no known format, empty, or text in an unknown encoding.
    """
    source = source_of_path(given) if isinstance(given, Path) else source_of_stream(given)
    try:
        source = plain_source(source)
        if source.format == "arrow":
            return with_table(source)
        if source.format not in BINARY:
            return checked_text(source)
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
    packed = path.suffix.lower() in COMPRESSIONS
    format = FORMATS.get((path.with_suffix("") if packed else path).suffix.lower())
    if format is None:
        raise TaskError(
            f"{name} has the extension {quoted(ending_of(path))}, but only {listed(FORMATS)} are read, also "
            f"with {' or '.join(COMPRESSIONS)} after them; convert the file, or "
            f"rename it when it is one of these"
        )
    return Source(name, format, path, title=shown(path.name))


def plain_source(source: Source) -> Source:
    """The source itself, or that of a temporary file in which it is unpacked and UTF-8."""
    path = source.path
    if path is not None and path.suffix.lower() in COMPRESSIONS:
        try:
            source = temporary(source, unpacked(path))
        except Swollen:
            raise TaskError(swollen(source)) from None
        except BROKEN as error:
            raise TaskError(
                f"{source.name} is not a readable {path.suffix} file ({quoted(error)}); compress it again, "
                f"or give it unpacked"
            ) from error
    return utf8_source(source) if source.format not in BINARY else source


def swollen(source: Source) -> str:
    """That the source grows beyond what `unpacking.most_bytes` allows."""
    if source.path is not None and source.path.suffix.lower() in COMPRESSIONS:
        return (
            f"{source.name} is over {MOST_GROWTH} times larger than its file when unpacked; unpack it "
            f"yourself if it is sound, and give the file that comes out"
        )
    return (
        f"{source.name} is over {MOST_GROWTH} times larger once its rows are read; give it as JSONL if it is "
        f"sound, or shorten the texts"
    )


def with_table(source: Source) -> Source:
    """The source of an Arrow file with its table, memory-mapped: a stream, or the file form (Feather)."""
    assert source.path is not None
    try:
        return replace(source, table=arrow_table(source.path))
    except Swollen:
        raise TaskError(swollen(source)) from None
    except pyarrow.ArrowException as error:
        raise TaskError(
            f"{source.name} is not a readable Arrow file ({quoted(error)}); write it again, or use Parquet"
        ) from error


def utf8_source(source: Source) -> Source:
    with source.open() as stream:
        encoding = encoding_of(stream.read(4))
    if encoding is None:
        return source
    try:
        return recoded_source(replace(source, encoding=encoding.upper()), encoding)
    except UnicodeError as error:
        raise TaskError(
            f"{source.name} begins like {encoding.upper()} text, but is not ({quoted(error)}); "
            f"save it as UTF-8"
        ) from error


def temporary(source: Source, path: Path) -> Source:
    """The source with its content in a temporary file, which is deleted with it."""
    plain = replace(source, path=path)
    weakref.finalize(plain, path.unlink, missing_ok=True)
    return plain


def source_of_stream(stream: Stream) -> Source:
    content = stream.read()
    first = content.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    format = "json" if first in (b"{", b"[") else "csv"
    return Source("standard input", format, None, content, title="standard input")


def checked_text(source: Source) -> Source:
    """The source as text that is UTF-8, recoded into a temporary file where another encoding is certain.

    Raises:
        TaskError: if it is blank, or holds a byte that is NUL or not UTF-8 and it is not certain what it is.
    """
    try:
        with source.open() as stream:
            filled = check_utf8(stream)
    except NotUtf8 as error:
        if source.encoding:
            raise TaskError(not_utf8(source.name, error, ())) from error
        with source.open() as stream:
            found = guess(stream)
        if found.encoding is None:
            raise TaskError(not_utf8(source.name, error, found.candidates)) from error
        told = replace(source, encoding=str(found), guessed=True)
        try:
            return checked_text(recoded_source(told, found.encoding))
        except UnicodeError:
            raise TaskError(not_utf8(source.name, error, ())) from error
    if not filled:
        raise TaskError(f"{source.name} is empty; give a file with one example in each row")
    return source


def recoded_source(source: Source, encoding: str) -> Source:
    """The source as UTF-8.

    Raises:
        UnicodeError: if it is not in this encoding.
    """
    if source.path is None:
        return replace(source, content=source.content.decode(encoding).encode())
    return temporary(source, recoded(source.path, encoding))


def not_utf8(name: str, error: NotUtf8, candidates: Sequence[Reading]) -> str:
    known = {"mac-roman": "macintosh", "euc_jp": "euc-jp"}
    names = dict.fromkeys(known.get(one.encoding, one.encoding) for one in candidates)
    possible = f"; it may be {' or '.join(names)}, which is not certain" if names else ""
    first = next(iter(names), "ENCODING")
    return (
        f"{name} is not UTF-8 text: line {error.line} holds the byte 0x{error.byte:02x}{possible}; save it "
        f"as UTF-8 (in a spreadsheet: 'CSV UTF-8'; on a command line: iconv -f {first} -t utf-8)"
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


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, quoted and sorted."""
    return sorted({quoted(name) for name, count in Counter(names).items() if count > 1})


def numbered(rows: Iterable[int]) -> str:
    """Row numbers for a message, counted from 1 below the header: "row 3" or "rows 3, 8 and 12 more"."""
    every = [row + 1 for row in rows]
    return f"row{'s' if len(every) > 1 else ''} {listed(every, MOST_LISTED)}"
