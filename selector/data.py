"""The files of a request: read as a task, kept by content."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selector.study import DataFile, StudySpec
from storage.files import Files
from trainers.task import Task, read_task

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """Where the user's files lie."""

    train: Path
    validation: Path | None = None
    test: Path | None = None

    def given(self) -> dict[str, Path]:
        """Split -> file, for those that were given."""
        paths = {split: getattr(self, split) for split in SPLITS}
        return {split: path for split, path in paths.items() if path is not None}


def keep(files: Files, given: DataFiles) -> dict[str, DataFile]:
    """Store the content of each file, so that a study can be run later and again."""
    return {
        split: DataFile(name=path.name, sha256=files.put_file(path)) for split, path in given.given().items()
    }


def read_kept(files: Files, spec: StudySpec) -> Task:
    """Read the task of a stored request.

    Raises:
        TaskError: as `read_task` does.
    """
    with tempfile.TemporaryDirectory(prefix="peltier-data-") as folder:
        paths: dict[str, Path] = {}
        for split in SPLITS:
            kept: DataFile | None = getattr(spec, split)
            if kept is not None:
                paths[split] = Path(folder) / (split + Path(kept.name).suffix)
                paths[split].symlink_to(files.path(kept.sha256).resolve())
        return read(DataFiles(**paths), spec)


def read(given: DataFiles, spec: StudySpec) -> Task:
    """Read files as the request says.

    Raises:
        TaskError: as `read_task` does.
    """
    return read_task(
        given.train,
        given.validation,
        given.test,
        text=spec.text,
        text_pair=spec.text_pair,
        label=spec.label,
        kind=spec.task,
        metric=spec.metric,
        train_rows=spec.train_rows,
        seed=spec.seed,
    )


def name_of(kept: Mapping[str, DataFile]) -> str:
    """A word for the data: the stem of the training file."""
    return Path(kept["train"].name).name.split(".")[0]
