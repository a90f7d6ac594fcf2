"""The folder of an export: written beside its place, sealed with hashes, and put in place in one step."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from trainers.card import card
from trainers.errors import ExportError

MANIFEST = "peltier.json"
CARD = "README.md"
"""The model card; its owner may edit it, so that it is the one file without a hash."""
MODULE = "module.safetensors"
FORMAT_VERSION = 1
PICKLES = frozenset({".bin", ".ckpt", ".dill", ".joblib", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
"""Endings of files that may run code when they are read; no export has one, and none is read beside one."""
BLOCK_BYTES = 1 << 20


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, on the same disk, so that the finished export moves in one step.

    Raises:
        ExportError: if `folder` holds something else already, or cannot be written.
    """
    _refuse_taken(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        rooms = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-")
    except OSError as error:
        raise ExportError(
            f"cannot write into {str(folder.parent)!r}: {error.strerror}; name a folder that you may write"
        ) from None
    with rooms as name:
        yield Path(name)


def _refuse_taken(folder: Path) -> None:
    if folder.is_file():
        raise ExportError(f"{str(folder)!r} is a file; name an empty or a new folder")
    if folder.is_symlink() or folder == Path.cwd():
        raise ExportError(f"{str(folder)!r} is a link or the working folder; name a new folder")
    if folder.exists() and not {file.name for file in folder.iterdir()} <= _first_parts(folder):
        raise ExportError(f"folder {str(folder)!r} holds other files; name an empty or a new folder")


def _first_parts(folder: Path) -> set[str]:
    """What lies directly in the folder of an earlier export."""
    try:
        named = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        own = {PurePosixPath(name).parts[0] for name in named}
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        own = set()  # from before files were named, or none
    return own | {MODULE, MANIFEST, CARD}


def seal(draft: Path, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest and card into a checked draft, and put it in place of `folder`.

    An earlier export stands aside until the new one is there.
    """
    files = {name: facts_of(draft / name) for name in contents(draft)}
    whole = {**manifest, "files": files, "size_bytes": sum(facts["bytes"] for facts in files.values())}
    text = json.dumps(whole, indent=2, ensure_ascii=False)
    (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
    (draft / CARD).write_text(card(whole), encoding="utf-8")
    if folder.exists():
        os.replace(folder, draft.with_name("earlier"))
    os.replace(draft, folder)


def contents(folder: Path) -> list[str]:
    """The files of an export as paths with slashes, without manifest and card."""
    every = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())
    return [name for name in every if name not in (MANIFEST, CARD)]


def facts_of(file: Path) -> dict[str, Any]:
    """Hash and size of a file, as the manifest has them."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return {"sha256": digest.hexdigest(), "bytes": file.stat().st_size}


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare the files of an export with the hashes in its manifest.

    Raises:
        ExportError: if one was changed, removed or, where it could run code, added.
    """
    refuse_pickles(folder)
    for name, facts in manifest.get("files", {}).items():
        file = inside(folder, name)
        if facts_of(file)["sha256"] != facts["sha256"]:
            raise ExportError(
                f"{str(file)!r} was changed after the export (its hash differs); export the study again"
            )


def inside(folder: Path, name: str) -> Path:
    """A file of an export.

    Raises:
        ExportError: if it is not there, or the name or a link leads out of the folder.
    """
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ExportError(f"{name!r} leads out of the export {str(folder)!r}; export the study again")
    if not file.is_file():
        raise ExportError(f"{str(folder)!r} has no {name}; export the study again")
    return file


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder with pickled files, which may run anything when some tool reads them.

    Raises:
        ExportError: naming one.
    """
    for name in contents(folder):
        if PurePosixPath(name).suffix.lower() in PICKLES:
            raise ExportError(
                f"{str(folder / name)!r} may run code when it is read, and no export has such a file; "
                f"remove it, or export the study again"
            )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export in any format.

    Raises:
        ExportError: if there is none, or it is newer than this program.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ExportError(
            f"{str(folder)!r} is not an export: it has no {MANIFEST}; "
            f"make one with: peltier export STUDY FOLDER"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{str(path)!r} is not JSON ({error}); export the study again") from None
    found = manifest if isinstance(manifest, dict) else {}
    version_found = found.get("format_version")
    if not isinstance(found.get("format"), str) or not isinstance(version_found, int):
        raise ExportError(f"{str(path)!r} is not a Peltier manifest; export the study again")
    if version_found > FORMAT_VERSION:
        raise ExportError(
            f"{str(path)!r} has format version {version_found}, this program reads up to "
            f"{FORMAT_VERSION}; upgrade peltier"
        )
    return found
