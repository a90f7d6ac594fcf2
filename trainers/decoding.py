"""Whether a stream is UTF-8 text, and in which encoding it may be when it is not."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.encodings import Reading, certain, decoded, readings

CHUNK_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 15
MOST_SAMPLE_BYTES = 1 << 16
"""Where a sample of the first size leaves out bytes that occur, it grows up to this."""
OFTEN_ENOUGH = 20
"""Pieces in which a byte is looked at, beyond the first sample."""
LONGEST_PIECE = 1 << 12
MOST_VALID = 0.6
"""Share of the bytes beyond ASCII that are whole characters of UTF-8 from which a text is damaged UTF-8; in
every other encoding it is below 0.4."""
MOST_CANDIDATES = 3
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")

CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
ASCII = bytes(range(128))


class NotUtf8(Exception):
    """A byte that is NUL or not UTF-8."""

    def __init__(self, line: int, byte: int) -> None:
        self.line, self.byte = line, byte


@dataclass(frozen=True)
class Guess:
    """In which encoding a text is."""

    encoding: str | None
    """None where it is not certain."""
    language: str = ""
    """Empty where no language was needed to tell."""
    candidates: Sequence[Reading] = ()
    """The likeliest readings, where none is certain."""

    def __str__(self) -> str:
        return f"{self.encoding} ({self.language})" if self.language else str(self.encoding)


def check_utf8(stream: Any) -> bool:
    """Whether the text in the stream is more than blank; holds one chunk at a time.

    Raises:
        NotUtf8: at the first byte that is NUL or not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    lines, blank = 1, True
    while True:
        chunk = stream.read(CHUNK_BYTES)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line = lines + error.object[: error.start].count(b"\n")
            raise NotUtf8(line, error.object[error.start]) from error
        if "\0" in text:
            raise NotUtf8(lines + text[: text.index("\0")].count("\n"), 0)
        blank = blank and not text.strip()
        lines += text.count("\n")
        if not chunk:
            return not blank


def guess(stream: Any) -> Guess:
    """The encoding of a text that is not UTF-8."""
    start = stream.read(SAMPLE_BYTES)
    if b"\0" in start:
        found = [encoding for encoding in WIDE if is_wide(start, encoding)]
        return Guess(found[0] if len(found) == 1 else None)
    stream.seek(0)
    sample = sample_of(stream)
    beyond = len(sample.translate(None, ASCII))
    if sum(map(len, CHARACTER.findall(sample))) >= MOST_VALID * beyond:  # also where there is none
        return Guess(None)
    possible = readings(sample)
    best = certain(possible)
    if best is not None:
        return Guess(best.encoding, best.language)
    return Guess(None, candidates=[one for one in possible if one.is_possible][:MOST_CANDIDATES])


def is_wide(start: bytes, encoding: str) -> bool:
    """Whether a text without its byte order mark begins so: in lines, and of characters that texts hold."""
    text = decoded(start[: len(start) // 4 * 4], encoding, cut=True)
    return text is not None and "\n" in text


def sample_of(stream: Any) -> bytes:
    """Lines, or parts of long ones, that hold bytes beyond ASCII; in some of them each that occurs."""
    seen: Counter[int] = Counter()
    kept, size = [], 0
    for piece in pieces(stream):
        beyond = set(piece.translate(None, ASCII))
        fewest = min((seen[byte] for byte in beyond), default=OFTEN_ENOUGH)
        rare = fewest == 0 or (fewest < OFTEN_ENOUGH and size < MOST_SAMPLE_BYTES)
        if beyond and (size < SAMPLE_BYTES or rare):
            kept.append(piece)
            size += len(piece)
            seen.update(beyond)
    return b"\n".join(kept)


def pieces(stream: Any) -> Iterator[bytes]:
    """Lines; long ones in parts, cut at bytes that are no part of another character in any encoding."""
    rest = b""
    while chunk := stream.read(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > CHUNK_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield from [line] if len(line) <= LONGEST_PIECE else re.split(rb'[ ,"]', line)
    yield from re.split(rb'[ ,"]', rest)
