"""A task: a labelled dataset with its columns, kind, labels, splits and metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.columns import choose_columns
from trainers.detection import kind_by_values, metric_for, separator_of
from trainers.forms import Given, open_one, open_splits
from trainers.kinds import KINDS
from trainers.labels import MAX_LABELS
from trainers.making import make_splits
from trainers.metrics import metrics_of, outcomes
from trainers.reading import columns_of, declared_labels, forms_of
from trainers.source import TaskError
from trainers.splits import Making, Split, content_hash
from trainers.table_rows import as_splits, has_labels, read_table_of, rows_of

__all__ = ["KINDS", "MAX_LABELS", "Split", "Task", "TaskError", "read_task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A dataset that is ready to be trained on."""

    name: str
    """Stem of the training file."""
    kind: str
    """One of `KINDS`."""
    text: str
    """Column of the text, or of the words."""
    text_pair: str | None
    label: str
    """Column of the labels; several columns as one --label names them."""
    labels: tuple[str, ...]
    """As they are declared with the data (ClassLabel), else sorted, as numbers where all are numbers.

    For several labels in a row and for tags those of all splits, else of training. Empty for regression.
    """
    metric: str
    train: Split
    validation: Split
    """With folds the training split itself."""
    test: Split
    origin: Mapping[str, str]
    """Split -> how it came about."""
    data_hash: str
    """SHA-256 of what is trained and scored; the same for the same content in any format or file name."""
    folds: NDArray[np.int64] | None = None
    """The fold of each training row, from 0 up; a row is scored by what was trained on the other folds.

    None: the validation rows are held out.
    """
    flags: tuple[str, ...] = ()
    """The columns of the labels, where each has a column of 0 and 1."""
    guessed: Mapping[str, str] = field(default_factory=dict)
    """Split -> the encoding of its file, where the text had to tell it."""
    media: Mapping[str, str] = field(default_factory=dict)
    """Column of the training data -> what it holds that is no text, such as pictures."""

    @property
    def fold_count(self) -> int:
        """1 without folds."""
        return 1 if self.folds is None else int(self.folds.max()) + 1

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        pair = () if self.text_pair is None else (self.text_pair,)
        return self.text, *pair, *(self.flags or (self.label,))

    @property
    def outputs(self) -> int:
        """How many numbers a head gives for a row, or for a word: one for each label; 1 for regression."""
        return len(self.labels) or 1

    def metrics(self, split: Split, logits: NDArray[np.floating[Any]]) -> dict[str, float]:
        """The metrics of one candidate's logits on a split, the task's own among them, and "loss"."""
        return metrics_of(logits, split.labels, metric=self.metric, **self._form(split))

    def outcomes(self, split: Split, logits: NDArray[np.floating[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Predictions [candidates, rows, ...] and labels [rows, ...] of which `score` takes the metric."""
        return outcomes(self.metric, logits, split.labels, **self._form(split))

    def _form(self, split: Split) -> dict[str, Any]:
        return {"kind": self.kind, "names": self.labels, "offsets": split.offsets}

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
            "folds": self.fold_count,
            "origin": dict(self.origin),
            "data_hash": self.data_hash,
        }


def read_task(
    train: Given,
    validation: Given | None = None,
    test: Given | None = None,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    metric: str | None = None,
    train_rows: int | None = None,
    folds: int | None = 1,
    seed: int = 0,
) -> Task:
    """The task in what is given, in any of the forms of `trainers.forms`.

    A dataset of several splits gives all of them. A split that is not given, or that has no labels though it
    comes with the others, is made from the training rows. `train_rows` draws that many rows of these; the
    next rows, at most 1,000, then are the validation split. With `folds` the training rows are, each scored
    by what was trained on the other folds; None: 5 folds where no validation rows are given, `train_rows`
    neither, and fewer than 400 rows are left. `metric` is one of `METRICS_OF` the kind, or f1:LABEL.

    Raises:
        TaskError: if the data or an argument cannot be used; the message says what to do.
    """
    check_arguments(train_rows, folds, seed)
    sources = open_splits(train)
    together = sources.keys() - {"train"}
    for name, given in (("validation", validation), ("test", test)):
        if given is not None:
            sources[name] = open_one(given, name)
            together -= {name}
    first = sources["train"]
    names = columns_of(first)
    forms = forms_of(first, names)
    columns = choose_columns(
        first.name,
        names,
        text=text,
        text_pair=text_pair,
        label=label,
        kind=kind,
        lists=forms.lists,
        flags=forms.flags,
        media=forms.media,
    )
    tables = {name: read_table_of(source, columns) for name, source in sources.items()}
    unlabelled = {name for name in together if not has_labels(tables[name], columns)}
    separator = None if columns.flags else separator_of(columns, tables["train"][columns.label])
    if separator is not None and kind is None:
        columns = replace(columns, kind="multi-label")
    rows = {
        name: rows_of(source, columns, tables[name], separator)
        for name, source in sources.items()
        if name not in unlabelled
    }
    declared = columns.flags or declared_labels(first, columns.label)
    found = kind or kind_by_values(columns, rows["train"].labels, declared)
    splits, labels = as_splits(found, rows, declared)
    chosen = metric_for(found, labels, metric)
    origin = dict.fromkeys(splits, "given")
    how = Making(file=first.title, kind=found, labels=labels, train_rows=train_rows, seed=seed, folds=folds)
    drawn = make_splits(splits, origin, how)
    for name in unlabelled:
        origin[name] += f" (the {name} split that came with {first.title} has no labels)"
    read = {name: source for name, source in sources.items() if source.encoding and name not in unlabelled}
    for name, source in read.items():
        origin[name] += f", read as {source.encoding}"
    return Task(
        name=first.stem,
        kind=found,
        text=columns.text,
        text_pair=columns.text_pair,
        label=columns.label,
        labels=labels,
        metric=chosen,
        **splits,
        origin=origin,
        data_hash=content_hash(found, labels, splits, drawn),
        folds=drawn,
        flags=columns.flags,
        guessed={name: source.encoding for name, source in read.items() if source.guessed},
        media=forms.media,
    )


def check_arguments(train_rows: int | None, folds: int | None, seed: int) -> None:
    if train_rows is not None and train_rows < 1:
        raise TaskError(
            f"--train-rows is {train_rows}; give at least one row for each label, or leave it out"
        )
    if folds is not None and folds < 1:
        raise TaskError(f"--folds is {folds}; give 1 for none, 2 or more, or leave it out")
    if seed < 0:
        raise TaskError(f"--seed is {seed}; give a whole number from 0 up")
