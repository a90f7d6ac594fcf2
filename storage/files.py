"""Files kept under the hash of their content: written whole or not at all, and the same content once."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, final
from uuid import uuid4

from storage.errors import StorageError
from storage.urls import database_url

BLOCK_BYTES = 1 << 20
"""All of a file that is ever in memory."""


def files_folder(url: str) -> Path:
    """Where the files of the database at this URL lie.

    Beside a SQLite file: x/peltier.files for x/peltier.db. For a server:
    peltier.files in the folder that PELTIER_HOME names, else in the working folder.
    """
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(str(parsed.database)).with_suffix(".files")
    return Path(os.environ.get("PELTIER_HOME") or ".").absolute() / "peltier.files"


@final
class Files:
    """A folder of files named by the SHA-256 of their content; processes may share it.

    The folder is made by the first file. Temporary files begin with a dot; one
    that a killed process left behind is never taken for content.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()

    def put(self, content: bytes) -> str:
        """Keep the content; returns its hash."""
        return self._keep([content])

    def put_file(self, path: Path | str) -> str:
        """Keep a copy of a file, one block in memory at a time; returns its hash."""
        return self._keep(_blocks(path))

    def path(self, content_hash: str) -> Path:
        """The file with this content, to read only.

        Raises:
            StorageError: if it is no SHA-256 in hexadecimal digits, or there is no such file.
        """
        if not re.fullmatch("[0-9a-f]{64}", content_hash):
            raise StorageError(f"{content_hash!r} is no content hash; a hash has 64 of the digits 0-9a-f")
        path = self.folder / content_hash
        if not path.is_file():
            raise StorageError(
                f"there is no file {content_hash} in {self.folder}; "
                "put the folder back that belongs to the database"
            )
        return path

    def remove(self, content_hash: str) -> None:
        """Forget a content that no row of the database names any more; nothing where it is gone already."""
        (self.folder / content_hash).unlink(missing_ok=True)

    def _keep(self, blocks: Iterable[bytes]) -> str:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._write(blocks)
        except OSError as error:
            raise StorageError(
                f"cannot write into {self.folder}: {error.strerror}; "
                "check that you may write there and that the disk is not full"
            ) from error

    def _write(self, blocks: Iterable[bytes]) -> str:
        temporary = self.folder / f".{uuid4().hex}.partial"
        try:
            with open(temporary, "xb") as target:
                content_hash = _copy(blocks, target)
            path = self.folder / content_hash
            if not path.exists():
                os.replace(temporary, path)
                _sync_folder(self.folder)
        finally:
            temporary.unlink(missing_ok=True)
        return content_hash


def _blocks(path: Path | str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as source:
            while block := source.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; give a file that you may read") from error


def _copy(blocks: Iterable[bytes], target: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        target.write(block)
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a new name in the folder survive a power cut; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
