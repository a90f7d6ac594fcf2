"""The files of a request: read as a task, kept by content."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
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


def keep(files: Files, given: DataFiles, spec: StudySpec) -> StudySpec:
    """The request with its files kept by content, so that the study can be run later and again."""

    def kept(path: Path | None) -> DataFile | None:
        return None if path is None else DataFile(name=path.name, sha256=files.put_file(path))

    train = DataFile(name=given.train.name, sha256=files.put_file(given.train))
    return replace(spec, train=train, validation=kept(given.validation), test=kept(given.test))


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
