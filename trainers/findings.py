"""What a check found in a dataset, and the rows it looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.sampling import group_keys
from trainers.source import quoted
from trainers.task import Split, Task

SEVERITIES = ("error", "warning", "advice")
"""An error stops a study that is not forced; a warning makes its scores doubtful; advice costs little."""

SPLITS = ("train", "validation", "test")
MOST_EXAMPLES = 3

Integers = NDArray[np.int64]
Answer = tuple[int | float, ...]
"""What a row is labelled with: its class, its classes (multi-label), one for each word, or its number."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong with a dataset; every text in it is one line that is safe to print."""

    check: str
    severity: str
    """One of `SEVERITIES`."""
    what: str
    """What was found, as a sentence without its full stop."""
    count: int
    """Rows it concerns; for columns and labels, how many of these."""
    share: float
    """`count` as a share of all that were looked at."""
    examples: tuple[str, ...]
    """At most three."""
    advice: str
    """What to do, as a sentence without its full stop."""

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the store keeps them."""
        return {**asdict(self), "examples": list(self.examples)}


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of rows, special tokens included; none is cut."""

    rows: Integers
    """Which rows, in the order of `Rows`: of a large dataset a sample."""
    tokens: Integers
    limit: int
    """Tokens that the backbone reads."""

    def summary(self) -> str:
        """The distribution in one line."""
        half, most = (math.ceil(np.quantile(self.tokens, q)) for q in (0.5, 0.95))
        return (
            f"half of the texts have up to {half:,} tokens, 95 % up to {most:,}, the longest "
            f"{self.tokens.max():,}; the backbone reads {self.limit:,}"
        )


@dataclass(frozen=True)
class Rows:
    """All rows of a task, the training rows first, then validation, then test."""

    task: Task
    table: Mapping[str, Sequence[Any]]
    """Column -> values of the training file, as it was read; empty where there is none."""
    lengths: Lengths | None

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        return splits_of(self.task)

    @property
    def scored(self) -> tuple[int, ...]:
        """Numbers of the splits whose rows are scored: with folds those of training, out of fold."""
        return (1, 2) if self.task.folds is None else (0, 2)

    @cached_property
    def split(self) -> Integers:
        """Number of the split of each row."""
        return np.repeat(np.arange(len(SPLITS)), [len(split) for split in self.splits])

    @cached_property
    def parts(self) -> tuple[list[str], ...]:
        """The texts of all rows, of text pairs also the second texts; words are joined with spaces."""
        parts = [[one for split in self.splits for one in split.texts]]
        if self.task.text_pair is not None:
            parts.append([one for split in self.splits for one in split.pairs or ()])
        return tuple([one if isinstance(one, str) else " ".join(one) for one in part] for part in parts)

    @cached_property
    def texts(self) -> list[str]:
        """The text of each row in one piece, of a pair both."""
        return self.parts[0] if len(self.parts) == 1 else list(map(" / ".join, zip(*self.parts, strict=True)))

    @cached_property
    def groups(self) -> Integers:
        """Equal texts have equal numbers, in the order of their first row; see `group_keys`."""
        numbers: dict[Any, int] = {}
        keys = (key for split in self.splits for key in group_keys(split.texts, split.pairs))
        return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), dtype=np.int64)

    @cached_property
    def answers(self) -> list[Answer]:
        return [answer for split in self.splits for answer in answers(split)]

    @property
    def has_classes(self) -> bool:
        """Whether the labels are classes, not numbers to predict."""
        labels: Any = self.task.train.labels
        return bool(labels.ndim == 2 or labels.dtype.kind != "f")

    @property
    def has_word_labels(self) -> bool:
        """Whether each word has a label, not each row."""
        return not isinstance(self.task.train.texts[0], str)

    @property
    def has_one_class(self) -> bool:
        """Whether each row has exactly one class."""
        return self.has_classes and not self.has_word_labels and self.task.train.labels.ndim == 1

    @cached_property
    def class_counts(self) -> Integers:
        """Rows in which each class occurs: [splits, classes]; where numbers are predicted there is none."""
        counts = np.zeros((len(SPLITS), len(self.task.labels)), dtype=np.int64)
        if not self.has_classes:
            return counts
        for split, answer in zip(self.split.tolist(), self.answers, strict=True):
            for label in set(answer):
                counts[split, int(label)] += 1
        return counts


def splits_of(task: Task) -> tuple[Split, ...]:
    """The training, validation and test rows, each row once: with folds no rows are for validation alone."""
    own = task.validation if task.folds is None else task.train.take(np.arange(0))
    return task.train, own, task.test


Check = Callable[[Rows], Iterable[Finding]]


def answers(split: Split) -> list[Answer]:
    """What each row is labelled with.

    Labels are [rows], [rows, classes] with 1 for each class of a row, or [words] with offsets of the rows.
    """
    if not len(split):
        return []
    labels: Any = split.labels
    offsets = getattr(split, "offsets", None)
    if offsets is not None:
        return [tuple(part.tolist()) for part in np.split(labels, offsets[1:-1])]
    if labels.ndim == 2:
        return [tuple(np.flatnonzero(row).tolist()) for row in labels]
    return [(label,) for label in labels.tolist()]


def label_text(rows: Rows, answer: Answer) -> str:
    """An answer as a message shows it."""
    if not rows.has_classes:
        return f"{answer[0]:g}"
    if not answer:
        return "without a label"
    names = [rows.task.labels[int(label)] for label in answer[:3]]
    return quoted(", ".join(names) + (", …" if len(answer) > 3 else ""))


def counted(count: int, word: str) -> str:
    """The number with its word: 1 row, 1,200 rows."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """A share for a message, never rounded to nothing or to everything."""
    if 0 < share < 0.001:
        return "below 0.1 %"
    return "above 99.9 %" if 0.999 < share < 1 else f"{100 * share:.3g} %"
