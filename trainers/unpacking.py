"""Compressed files and UTF-16: written out once as plain UTF-8, so that they are read like any other."""

from __future__ import annotations

import codecs
import gzip
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow

CHUNK_BYTES = 1 << 20
# A text shrinks 3 to 20 times. A file that swells more than this beyond the first size is a bomb.
MOST_GROWTH = 200
HARMLESS_BYTES = 256 << 20

# UTF-32 first: its mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Swollen(Exception):
    """A compressed file that would fill the disk."""


def most_bytes(size: int) -> int:
    """What a file of this size may unpack to."""
    return max(HARMLESS_BYTES, MOST_GROWTH * size)


def open_gzip(path: Path) -> AbstractContextManager[Any]:
    return gzip.open(path, "rb")


def open_zstandard(path: Path) -> AbstractContextManager[Any]:
    opened: AbstractContextManager[Any] = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")
    return opened


COMPRESSIONS: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
    ".gz": open_gzip,
    ".zst": open_zstandard,
}
BROKEN = (EOFError, zlib.error, OSError, pyarrow.ArrowException)
"""What opening or reading a damaged compressed file raises."""


def unpacked(path: Path) -> Path:
    """A temporary file with the content of a compressed one; the caller deletes it.

    Raises:
        Swollen: if it is more than 256 MB and 200 times the size of the file.
        EOFError, zlib.error, OSError, ArrowException: if the file is damaged.
    """
    most = most_bytes(path.stat().st_size)

    def chunks() -> Iterator[bytes]:
        size = 0
        with COMPRESSIONS[path.suffix.lower()](path) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                size += len(chunk)
                if size > most:
                    raise Swollen
                yield chunk

    return written_out(chunks())


def recoded(path: Path, encoding: str) -> Path:
    """A temporary file with the text of another encoding as UTF-8; the caller deletes it.

    Raises:
        UnicodeDecodeError: if the text is not in this encoding.
    """

    def chunks() -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(encoding)()
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()

    return written_out(chunks())


def written_out(chunks: Iterator[bytes]) -> Path:
    """A temporary file of the chunks; nothing stays behind when one of them fails."""
    handle, name = tempfile.mkstemp(prefix="peltier-plain-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def encoding_of(start: bytes) -> str | None:
    """The encoding that a byte order mark names, other than UTF-8."""
    return next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)
