"""Tokens kept on disk and memory-mapped: workers on one machine share their pages, studies reuse them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from trainers.tokens import Tokens

FOLDER_VARIABLE = "PELTIER_CACHE"
MOST_BYTES = 2 << 30
"""Of all entries; those that were used longest ago make room."""
FORGOTTEN_SECONDS = 3600.0
"""Age of a file that somebody began to write and never finished."""
FACTS = b"peltier"

COLUMNS = pyarrow.schema(
    {
        "ids": pyarrow.large_list(pyarrow.int32()),
        "types": pyarrow.large_list(pyarrow.int32()),
        "offsets": pyarrow.large_list(pyarrow.int64()),
        "places": pyarrow.large_list(pyarrow.int64()),
    }
)
"""Of each split one row; as `Tokens`, without the labels, which the splits have."""


@dataclass(frozen=True)
class Entry:
    """What is kept: the tokens of some splits, and the length they were cut to."""

    tokens: tuple[Tokens, ...]
    length: int


def cache_folder() -> Path | None:
    """The folder of the entries, made if need be for this user's eyes only; None where there can be none.

    It lies in `PELTIER_CACHE`, else where the system keeps caches.
    """
    try:
        folder = _home() / "tokens"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)  # fails for a folder of another user, whose tokens are not to be trusted
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return folder


def _home() -> Path:
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "peltier"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "peltier"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peltier"


def cached(key: str | None, labels: Sequence[NDArray[Any]], make: Callable[[], Entry]) -> Entry:
    """The entry with this key and the labels of its splits; made and kept if it is not there.

    Without a key, or a folder that can be written, it is made each time.
    """
    folder = None if key is None else cache_folder()
    if key is None or folder is None:
        return make()
    found = load(folder, key, labels)
    if found is None:
        made = make()
        store(folder, key, made)
        found = load(folder, key, labels) or made  # mapped, so that this process shares its pages, too
    return found


def load(folder: Path, key: str, labels: Sequence[NDArray[Any]]) -> Entry | None:
    """An entry, memory-mapped, with the labels of its splits; None if there is none that is whole."""
    path = _path(folder, key)
    try:
        table = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()
        facts = json.loads((table.schema.metadata or {})[FACTS])
        splits = [_arrays(table, row) for row in range(table.num_rows)]
        if facts["checksum"] != _checksum(splits, facts["length"]):
            return None
        tokens = tuple(
            Tokens(ids, types, offsets, own, places)
            for (ids, types, offsets, places), own in zip(splits, labels, strict=True)
        )
        entry = Entry(tokens, facts["length"])
    except (OSError, pyarrow.ArrowException, ValueError, KeyError, TypeError):
        return None
    with suppress(OSError):
        os.utime(path)  # the time of its last use
    return entry


def store(folder: Path, key: str, entry: Entry) -> None:
    """Keep an entry, whole or not at all: where the disk refuses, it is not kept."""
    splits = [(one.ids, one.types, one.offsets, one.places) for one in entry.tokens]
    if sum(array.nbytes for arrays in splits for array in arrays if array is not None) > MOST_BYTES:
        return
    facts = json.dumps({"length": entry.length, "checksum": _checksum(splits, entry.length)})
    schema = COLUMNS.with_metadata({FACTS: facts.encode()})
    draft = None
    try:
        number, draft = tempfile.mkstemp(dir=folder, suffix=".part")
        with open(number, "wb") as file, pyarrow.ipc.new_file(file, schema) as writer:
            for arrays in splits:
                writer.write(pyarrow.record_batch(list(map(_column, arrays, schema.types)), schema=schema))
        os.replace(draft, _path(folder, key))
        _prune(folder)
    except OSError:
        if draft is not None:
            Path(draft).unlink(missing_ok=True)


Arrays = tuple[NDArray[np.int32], NDArray[np.int32] | None, NDArray[np.int64], NDArray[np.int64] | None]
"""ids, types, offsets and places of one split."""


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.arrow"


def _column(array: NDArray[Any] | None, kind: Any) -> Any:
    """One row that holds an array, without a copy of it."""
    if array is None:
        return pyarrow.nulls(1, kind)
    bounds = pyarrow.array([0, len(array)], pyarrow.int64())
    return pyarrow.LargeListArray.from_arrays(bounds, pyarrow.array(array))


def _arrays(table: Any, row: int) -> Arrays:
    """The arrays of a row, which lie in the file."""
    found = [table[name][row].values for name in COLUMNS.names]
    ids, types, offsets, places = (None if one is None else one.to_numpy() for one in found)
    if ids is None or offsets is None or offsets[-1] != len(ids):
        raise ValueError("these are no tokens")
    return ids, types, offsets, places


def _checksum(splits: Iterable[Arrays], length: int) -> int:
    """Tells a damaged file; Arrow does not look into the numbers."""
    found = zlib.crc32(str(length).encode())
    for arrays in splits:
        for array in arrays:
            found = zlib.crc32(b"" if array is None else np.ascontiguousarray(array).data, found)
    return found


def _prune(folder: Path) -> None:
    """Remove what was used longest ago until the entries fit, and what was never finished."""
    left = MOST_BYTES
    for path, seen in sorted(_seen(folder.glob("*.arrow")), key=lambda one: -one[1].st_mtime):
        left -= seen.st_size
        if left < 0:
            path.unlink(missing_ok=True)
    for path, seen in _seen(folder.glob("*.part")):
        if time.time() - seen.st_mtime > FORGOTTEN_SECONDS:
            path.unlink(missing_ok=True)


def _seen(paths: Iterable[Path]) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in paths:
        with suppress(OSError):  # another process has removed it
            found.append((path, path.stat()))
    return found
