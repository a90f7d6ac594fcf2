"""Columns that hold no text but pictures, sounds or videos: as bytes, as base64, or as names of files."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

# How files of each kind begin.
STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG pictures",
    b"\xff\xd8\xff": "JPEG pictures",
    b"GIF8": "GIF pictures",
    b"II*\0": "TIFF pictures",
    b"MM\0*": "TIFF pictures",
    b"RIFF": "WebP pictures or WAV sounds",
    b"ID3": "MP3 sounds",
    b"OggS": "Ogg sounds",
    b"fLaC": "FLAC sounds",
    b"%PDF": "PDF documents",
}
ENDINGS = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".svg"), "pictures"),
    **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg", ".m4a", ".opus"), "sounds"),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".webm", ".mkv"), "videos"),
}
ADDRESS = re.compile(r"data:(image|audio|video)/[\w.+-]+;base64,")
ADDRESSED = {"image": "pictures", "audio": "sounds", "video": "videos"}
BASE64 = re.compile(r"[A-Za-z0-9+/]{40}")
LONGEST_PATH = 300
LOOKED_AT = 20
"""Values of a column that are looked at."""


def medium(value: Any) -> str | None:
    """What a value holds that is no text, as a message says it; None where it is anything else."""
    if isinstance(value, Mapping):  # as `datasets` keeps a picture or a sound
        return medium(value.get("bytes")) or medium(value.get("path"))
    if isinstance(value, bytes):
        return next((kind for start, kind in STARTS.items() if value.startswith(start)), None)
    return written_medium(value) if isinstance(value, str) else None


def written_medium(text: str) -> str | None:
    if address := ADDRESS.match(text):
        return f"{ADDRESSED[address.group(1)]} as base64"
    if BASE64.match(text):
        try:
            kind = medium(base64.b64decode(text[:40]))
        except binascii.Error:
            return None
        return kind and f"{kind} as base64"
    if len(text) > LONGEST_PATH or len(text.split()) != 1:
        return None
    kind = ENDINGS.get(PurePosixPath(text.strip().replace("\\", "/")).suffix.lower())
    return kind and f"names of {kind}"


def medium_in(values: Iterable[Any]) -> str | None:
    """What most of the values hold that is no text."""
    there = [value for value in values if value is not None][:LOOKED_AT]
    found = [kind for kind in map(medium, there) if kind]
    return max(found, key=found.count) if len(found) > len(there) / 2 else None
