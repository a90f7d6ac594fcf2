"""A task: a labelled dataset with its columns, kind, labels, splits and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.columns import KINDS, Columns, choose_columns
from trainers.labels import MAX_LABELS, label_indices, label_names
from trainers.metrics import METRICS
from trainers.reading import Texts, columns_of, labels_of, read_columns, texts_of
from trainers.source import Source, TaskError, listed, open_source, quoted, shown
from trainers.splits import Split, content_hash, make_splits

__all__ = ["KINDS", "MAX_LABELS", "Split", "Task", "TaskError", "read_task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A dataset that is ready to be trained on."""

    name: str
    """Stem of the training file."""
    kind: str
    text: str
    """Column of the text."""
    text_pair: str | None
    label: str
    labels: tuple[str, ...]
    """Sorted; as numbers where all are numbers."""
    metric: str
    train: Split
    validation: Split
    test: Split
    origin: Mapping[str, str]
    """Split -> how it came about."""
    data_hash: str
    """SHA-256 of what is trained and scored; the same for the same content in any format or file name."""

    def summary(self) -> dict[str, Any]:
        """What a study keeps of the task, as JSON values."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            "name": self.name,
            "kind": self.kind,
            "metric": self.metric,
            "columns": {"text": self.text, "text_pair": self.text_pair, "label": self.label},
            "labels": list(self.labels),
            "rows": {name: len(split) for name, split in splits.items()},
            "origin": dict(self.origin),
            "data_hash": self.data_hash,
        }


def read_task(
    train: Path,
    validation: Path | None = None,
    test: Path | None = None,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    metric: str | None = None,
    train_rows: int | None = None,
    seed: int = 0,
) -> Task:
    """The task in the files; a split that is not given is made from the training file.

    `train_rows` draws that many rows of it; the next rows, at most 1,000, then are the validation split.

    Raises:
        TaskError: if the data or an argument cannot be used; the message says what to do.
    """
    check_arguments(metric, train_rows, seed)
    source = open_source(train)
    names = columns_of(source)
    columns = choose_columns(source.name, names, text=text, text_pair=text_pair, label=label, kind=kind)
    texts, pairs, found = read_rows(source, columns)
    labels = label_names(source.name, columns.label, found, numbers_are_classes=kind is not None)
    splits = {"train": Split(texts, pairs, label_indices(source.name, found, labels))}
    for name, path in (("validation", validation), ("test", test)):
        if path is not None:
            splits[name] = read_split(open_source(path), columns, labels)
    origin = dict.fromkeys(splits, "given")
    make_splits(splits, origin, shown(train.name), labels, train_rows, seed)
    return Task(
        name=shown(train.stem),
        kind=columns.kind,
        text=columns.text,
        text_pair=columns.text_pair,
        label=columns.label,
        labels=labels,
        metric=metric or "accuracy",
        **splits,
        origin=origin,
        data_hash=content_hash(columns.kind, labels, splits),
    )


def check_arguments(metric: str | None, train_rows: int | None, seed: int) -> None:
    if metric is not None and metric not in METRICS:
        raise TaskError(f"the metric {quoted(metric)} is unknown; choose --metric from {listed(METRICS)}")
    if train_rows is not None and train_rows < 1:
        raise TaskError(
            f"--train-rows is {train_rows}; give at least one row for each label, or leave it out"
        )
    if seed < 0:
        raise TaskError(f"--seed is {seed}; give a whole number from 0 up")


def read_split(source: Source, columns: Columns, labels: Sequence[str]) -> Split:
    texts, pairs, found = read_rows(source, columns)
    return Split(texts, pairs, label_indices(source.name, found, labels))


def read_rows(source: Source, columns: Columns) -> tuple[Texts, Texts | None, list[str]]:
    """The texts, second texts and labels of a file."""
    values = read_columns(source, columns.names())
    texts = tuple(texts_of(source, columns.text, values[columns.text]))
    pair = columns.text_pair
    pairs = None if pair is None else tuple(texts_of(source, pair, values[pair]))
    return texts, pairs, labels_of(source, columns.label, values[columns.label])
