"""What is wrong with a dataset, before any time is spent on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainers.double_checks import contradictory, nearly_repeated, repeated_across, repeated_inside
from trainers.findings import SEVERITIES, SPLITS, Check, Finding, Integers, Lengths, Rows, splits_of
from trainers.label_checks import balance, few_rows, rare_classes, spelling
from trainers.leakage import telling_columns, telling_words
from trainers.media_checks import no_texts, other_media
from trainers.raw_tokens import count_tokens
from trainers.special_tokens import frame_of
from trainers.task import Split, Task
from trainers.text_checks import blank_texts, constant_columns, cut_texts, other_encodings

__all__ = ["CHECKS", "SEVERITIES", "SPLITS", "Finding", "Lengths", "examine", "token_lengths"]

MOST_MEASURED = 20_000

CHECKS: tuple[Check, ...] = (
    few_rows,
    rare_classes,
    no_texts,
    blank_texts,
    constant_columns,
    repeated_across,
    contradictory,
    nearly_repeated,
    repeated_inside,
    spelling,
    telling_words,
    telling_columns,
    balance,
    cut_texts,
    other_media,
    other_encodings,
)


def examine(
    task: Task, *, lengths: Lengths | None = None, table: Mapping[str, Sequence[Any]] | None = None
) -> tuple[Finding, ...]:
    """Everything that the checks find, the worst first.

    `table` holds all columns of the training file, as read; without it (and without `lengths`) what needs
    them is not checked.
    """
    rows = Rows(task, table or {}, lengths)
    found = [finding for check in CHECKS for finding in check(rows)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def token_lengths(task: Task, tokenizer: Any, limit: int) -> Lengths:
    """How many tokens rows have for a tokenizer of transformers; the backbone reads `limit` of them.

    At most `MOST_MEASURED` rows are measured, evenly spread: a tokenizer takes longer than all checks.
    """
    splits = splits_of(task)
    count = sum(map(len, splits))
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST_MEASURED)).astype(np.int64))
    tokens, start = [], 0
    for split in splits:
        inside = rows[(rows >= start) & (rows < start + len(split))] - start
        tokens.append(lengths_of(split.take(inside), tokenizer))
        start += len(split)
    return Lengths(rows=rows, tokens=np.concatenate(tokens), limit=limit)


def lengths_of(split: Split, tokenizer: Any) -> Integers:
    """Tokens of each row, special ones included; words are joined with spaces, as they are read."""
    columns = [split.texts if split.offsets is None else map(" ".join, split.texts)]
    columns += [] if split.pairs is None else [split.pairs]
    counts = [count_tokens(column, tokenizer) for column in columns]
    return np.asarray(sum(counts)) + frame_of(tokenizer, len(columns)).count
