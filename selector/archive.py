"""A folder as one zip file, for a download."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from selector.study import RequestError


def zip_folder(folder: Path, name: str) -> bytes:
    """The regular files of a folder as a zip, inside one folder called `name`.

    Links are left out: they could lead to files that were never exported.

    Raises:
        RequestError: if the folder is not on this machine.
    """
    if not folder.is_dir():
        raise RequestError(
            f"the export folder {folder} is not on this machine; "
            f"write it again with: peltier export STUDY FOLDER"
        )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, f"{name}/{path.relative_to(folder).as_posix()}")
    return stream.getvalue()
