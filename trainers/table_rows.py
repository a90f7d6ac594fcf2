"""The rows of one file in a task's columns: texts, and labels as they stand there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow

from trainers.columns import Columns
from trainers.detection import parted
from trainers.flags import flag_column
from trainers.kinds import single
from trainers.labels import (
    Column,
    joint_names,
    label_column,
    label_indices,
    label_names,
    label_numbers,
    label_sets,
)
from trainers.reading import read_columns_as, texts_of
from trainers.source import Source, TaskError, numbered, quoted
from trainers.splits import Split
from trainers.texts import TEXT, WORDS, Texts

NO_LABEL = ("-1", ["-1"])


@dataclass(frozen=True, eq=False)
class Rows:
    """What was read of one split."""

    texts: Texts
    pairs: Texts | None
    labels: Column


def read_table_of(source: Source, columns: Columns) -> pyarrow.Table:
    """The task's columns of a file, as texts and lists.

    Raises:
        TaskError: if the file or a value cannot be read.
    """
    of_words = columns.kind == "token-classification"
    in_lists = of_words or (columns.kind == "multi-label" and columns.label_lists)
    types = dict.fromkeys(columns.names(), TEXT)
    types[columns.text] = WORDS if of_words else TEXT
    if in_lists:
        types[columns.label] = WORDS
    return read_columns_as(source, types)


def rows_of(source: Source, columns: Columns, table: pyarrow.Table, separator: str | None) -> Rows:
    """The texts and labels of the table; several labels in one text are parted.

    Raises:
        TaskError: if a text or a label is missing, or words and tags do not match.
    """
    texts = texts_of(source, columns.text, table[columns.text])
    pair = columns.text_pair
    pairs = None if pair is None else texts_of(source, pair, table[pair])
    if columns.flags:
        return Rows(texts, pairs, flag_column(source, columns.flags, table))
    labels = table[columns.label]
    if columns.kind == "multi-label" and labels.type == TEXT:
        labels = parted(labels, separator)
    found = label_column(source, columns.label, labels)
    if columns.kind == "token-classification":
        check_words(source, columns, texts, found)
    return Rows(texts, pairs, found)


def check_words(source: Source, columns: Columns, texts: Texts, labels: Column) -> None:
    """Refuse rows without a word, or with another number of tags than of words."""
    assert labels.offsets is not None
    words = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    tags = np.diff(labels.offsets)
    wrong = np.flatnonzero((words != tags) | (words == 0)).tolist()
    if wrong:
        row = wrong[0]
        raise TaskError(
            f"{numbered([row])} of {source.name} has {words[row]:,} words in column {quoted(columns.text)} "
            f"and {tags[row]:,} tags in column {quoted(columns.label)} ({len(wrong):,} such rows: "
            f"{numbered(wrong)}); each word needs one tag: repair or drop them"
        )


def has_labels(table: pyarrow.Table, columns: Columns) -> bool:
    """Whether any row has a label; GLUE's test splits hold -1 in every row instead."""
    found = [
        label for name in columns.flags or (columns.label,) for label in table[name].unique().to_pylist()
    ]
    return any(label is not None and label not in NO_LABEL for label in found) or len(table) == 1


def as_splits(
    kind: str, rows: dict[str, Rows], declared: Sequence[str]
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The splits with labels in the form of the kind, and the labels' names; regression has none.

    Raises:
        TaskError: if the labels do not suit the kind.
    """
    base = single(kind)
    columns = {name: part.labels for name, part in rows.items()}
    names: tuple[str, ...] = ()
    if base == "classification":
        names = label_names(columns["train"], declared)
    elif base != "regression":
        names = joint_names(list(columns.values()), declared)
    splits = {}
    for name, part in rows.items():
        split = Split(part.texts, part.pairs, np.zeros(0, dtype=np.int64))
        if base == "regression":
            split = replace(split, labels=label_numbers(part.labels))
        elif base == "multi-label":
            split = replace(split, labels=label_sets(part.labels, names))
        else:
            split = replace(split, labels=label_indices(part.labels, names), offsets=part.labels.offsets)
        splits[name] = split
    if base == "regression" and not np.ptp(splits["train"].labels):
        raise TaskError(
            f"{columns['train'].where} holds one number only ({quoted(columns['train'].names[0])}); "
            f"regression needs different ones: name another column with --label"
        )
    return splits, names
