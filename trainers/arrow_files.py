"""Arrow files: mapped into memory; a compressed one is unpacked first, unless it is too large for that."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow

from trainers.texts import kept
from trainers.unpacking import Swollen, most_bytes

ARROW_FILE = b"ARROW1"
FILE_START = 8
"""Bytes of the file form in front of the stream of messages that it holds."""
# Slots of fields in the tables of Arrow's Message.fbs.
MESSAGE_HEADER = 2
DICTIONARY_ROWS = 1
ROWS_BUFFERS = 2
ROWS_COMPRESSION = 3


def arrow_table(path: Path) -> pyarrow.Table:
    """The table of an Arrow file or stream, without a copy where it is not compressed.

    Raises:
        Swollen: if it is compressed and unpacks to more than 256 MB and 200 times the size of the file.
        ArrowException, OSError: if it cannot be read.
    """
    size = unpacked_bytes(path)
    if size > most_bytes(path.stat().st_size):
        raise Swollen
    # the file form is read as the stream inside it: that is what was measured
    stream = pyarrow.ipc.open_stream(mapped_stream(path))
    return kept(iter(stream), stream.schema) if size else stream.read_all()


def unpacked_bytes(path: Path) -> int:
    """What the compressed buffers of an Arrow file say that they unpack to; 0 where none is compressed.

    Each begins with its size, which unpacking holds it to.

    Raises:
        ArrowException, OSError: if it cannot be read.
    """
    rows = (message for message in messages(mapped_stream(path)) if message.type != "schema")
    return sum(size for message in rows for size in compressed_sizes(message))


def mapped_stream(path: Path) -> Any:
    """The memory-mapped file, where its messages begin."""
    mapping = pyarrow.memory_map(str(path))
    mapping.seek(FILE_START if mapping.read(len(ARROW_FILE)) == ARROW_FILE else 0)
    return mapping


def messages(mapping: Any) -> Iterator[Any]:
    reader = pyarrow.ipc.MessageReader.open_stream(mapping)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def compressed_sizes(message: Any) -> Iterator[int]:
    """The unpacked size of each compressed buffer of a message with rows."""
    data = memoryview(message.metadata)
    try:
        rows = table_at(data, field(data, root(data), MESSAGE_HEADER))
        if message.type == "dictionary":
            rows = table_at(data, field(data, rows, DICTIONARY_ROWS))
        if not field(data, rows, ROWS_COMPRESSION):
            return
        place = table_at(data, field(data, rows, ROWS_BUFFERS))
        (count,) = struct.unpack_from("<I", data, place)
        for start, length in struct.iter_unpack("<qq", data[place + 4 : place + 4 + 16 * count]):
            (size,) = struct.unpack_from("<q", message.body, start) if length else (0,)
            # -1 marks a buffer that was not worth compressing
            yield size if size >= 0 else length
    except struct.error as error:
        raise pyarrow.ArrowInvalid(f"a message is damaged ({error})") from error


def root(data: memoryview) -> int:
    return int(struct.unpack_from("<I", data, 0)[0])


def field(data: memoryview, table: int, slot: int) -> int:
    """Where a field of a table stands in the bytes; 0 where the table leaves it out (FlatBuffers)."""
    (back,) = struct.unpack_from("<i", data, table)
    (length,) = struct.unpack_from("<H", data, table - back)
    entry = 4 + 2 * slot
    offset = int(struct.unpack_from("<H", data, table - back + entry)[0]) if entry < length else 0
    return table + offset if offset else 0


def table_at(data: memoryview, place: int) -> int:
    """The table, or the vector, that the field at this place points to."""
    return place + int(struct.unpack_from("<I", data, place)[0])
