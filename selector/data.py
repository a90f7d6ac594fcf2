"""The files of a request: read as a task, kept by content."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet

from selector.study import DataFile, StudySpec
from storage.files import Files
from trainers.forms import open_one
from trainers.metrics import LOWER_IS_BETTER
from trainers.source import TaskError, ending_of
from trainers.task import Task, read_task

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """Where the user's data lie: files, folders written by `save_to_disk`, or hub ids."""

    train: Path
    validation: Path | None = None
    test: Path | None = None


def keep(files: Files, given: DataFiles, spec: StudySpec) -> StudySpec:
    """The request with its data kept by content, so that the study can be run later and again.

    A folder or a hub id is kept as a Parquet file for each of its splits.
    """
    paths = {split: path for split in SPLITS if (path := getattr(given, split)) is not None}
    kept = {split: keep_file(files, path) for split, path in paths.items() if path.is_file()}
    if len(kept) < len(paths):
        origin = read(given, spec).origin
        for split in SPLITS:
            if split not in kept and (split == "train" or origin[split] == "given"):
                kept[split] = keep_split(files, paths.get(split, given.train), split)
    return replace(spec, train=kept["train"], validation=kept.get("validation"), test=kept.get("test"))


def hub_name(given: Path) -> str | None:
    """The hub's name of a dataset that could be read and is nothing on this disk; else None."""
    return None if given.exists() else str(given).partition(":")[0]


def keep_file(files: Files, path: Path) -> DataFile:
    return DataFile(name=path.name, sha256=files.put_file(path))


def keep_split(files: Files, path: Path, split: str) -> DataFile:
    table = open_one(path, split).table
    assert table is not None, "folders and hub ids are read as tables"
    with tempfile.TemporaryDirectory(prefix="peltier-data-") as folder:
        written = Path(folder) / f"{split}.parquet"
        pyarrow.parquet.write_table(table, written)
        return keep_file(files, written)


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
                paths[split] = Path(folder) / (split + ending_of(Path(kept.name)))
                paths[split].symlink_to(files.path(kept.sha256).resolve())
        return read(DataFiles(**paths), spec)


def read(given: DataFiles, spec: StudySpec) -> Task:
    """Read files as the request says.

    Raises:
        TaskError: as `read_task` does.
    """
    task = read_task(
        given.train,
        given.validation,
        given.test,
        text=spec.text,
        text_pair=spec.text_pair,
        label=spec.label,
        kind=spec.task,
        metric=spec.metric,
        train_rows=spec.train_rows,
        folds=spec.folds,
        seed=spec.seed,
    )
    if task.train.offsets is not None and spec.truncation != "head":
        raise TaskError(
            f"--truncation {spec.truncation} says how texts are cut, and a task of {task.kind} cuts none: "
            f"long rows are read in parts; leave it out"
        )
    if task.train.offsets is not None and spec.head != "mean":
        raise TaskError(
            f"--head {spec.head} says how texts are read, and a task of {task.kind} reads each word by "
            f"itself, as the family's own classifier of tokens does; leave it out"
        )
    if task.metric in LOWER_IS_BETTER:
        raise TaskError(
            f"of --metric {task.metric} less is better, and a search looks for the most; choose r2, which "
            f"ranks candidates alike"
        )
    return task
