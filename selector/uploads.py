"""Files that were uploaded through a page: as `DataFiles` in a temporary folder, and their first rows."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selector.data import DataFiles
from selector.study import RequestError
from trainers.reading import blocks, columns_of
from trainers.source import FORMATS, open_source, quoted
from trainers.task import TaskError
from trainers.values import python_values

ENDINGS = tuple(FORMATS)
"""Endings of the files that can be read."""

MAX_UPLOAD_BYTES = 200 << 20
LONGEST_STEM = 64


@dataclass(frozen=True)
class Upload:
    """A file as a browser sent it."""

    name: str
    """As the browser gave it: any text, not to be trusted as a path."""
    content: bytes


@contextmanager
def written(
    train: Upload, validation: Upload | None = None, test: Upload | None = None
) -> Iterator[DataFiles]:
    """The uploads as files that exist until the block ends.

    A TaskError from inside the block names the files as the user knows them, not the temporary folder.

    Raises:
        RequestError: if an ending is not one of `ENDINGS`, or a file is larger than `MAX_UPLOAD_BYTES`.
    """
    uploads = {"train": train, "validation": validation, "test": test}
    names = {split: safe_name(upload) for split, upload in uploads.items() if upload is not None}
    with tempfile.TemporaryDirectory(prefix="peltier-upload-") as folder:
        paths = {split: Path(folder, split, name) for split, name in names.items()}
        for split, path in paths.items():
            upload = uploads[split]
            assert upload is not None
            path.parent.mkdir()
            path.write_bytes(upload.content)
        try:
            yield DataFiles(**paths)
        except TaskError as error:
            message = str(error)
            for path in paths.values():
                message = message.replace(f"{path.parent}/", "")
            raise TaskError(message) from None


def safe_name(upload: Upload) -> str:
    """A file name without folders, spaces or control characters; its ending is in lower case.

    Raises:
        RequestError: as `written` does.
    """
    name = Path(upload.name.replace("\\", "/")).name
    ending = Path(name).suffix.lower()
    if ending not in FORMATS:
        raise RequestError(
            f"{quoted(name)} has the ending {quoted(ending)}, but only {', '.join(ENDINGS)} are read; "
            f"convert the file and upload it again"
        )
    if len(upload.content) > MAX_UPLOAD_BYTES:
        raise RequestError(
            f"{quoted(name)} has {len(upload.content) / 2**20:,.0f} MB, and a page takes at most "
            f"{MAX_UPLOAD_BYTES >> 20} MB; start it from a command line with: peltier submit FILE"
        )
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).stem).strip("-.")[:LONGEST_STEM]
    return (stem or "data") + ending


def first_rows(path: Path, count: int = 5) -> dict[str, list[str]]:
    """Column -> the first values of it, written out.

    Raises:
        TaskError: if the file cannot be read.
    """
    source = open_source(path)
    first = next(blocks(source, columns_of(source)))
    return {
        name: ["" if value is None else str(value) for value in python_values(values[:count])]
        for name, values in first.items()
    }
