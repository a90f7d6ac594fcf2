"""What is wrong with a dataset, before any time is spent on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainers.double_checks import contradictory, nearly_repeated, repeated_across, repeated_inside
from trainers.findings import SEVERITIES, SPLITS, Check, Finding, Lengths, Rows
from trainers.label_checks import balance, few_rows, rare_classes, spelling
from trainers.leakage import telling_columns, telling_words
from trainers.media_checks import no_texts, other_media
from trainers.task import Split, Task
from trainers.text_checks import blank_texts, constant_columns, cut_texts, other_encodings

__all__ = ["CHECKS", "SEVERITIES", "SPLITS", "Finding", "Lengths", "examine", "token_lengths"]

MOST_MEASURED = 20_000
CHUNK = 1000
"""Rows that are tokenised together: their tokens are held as Python numbers."""

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
    splits = (task.train, task.validation, task.test)
    count = sum(map(len, splits))
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST_MEASURED)).astype(np.int64))
    tokens, start = [], 0
    for split in splits:
        inside = rows[(rows >= start) & (rows < start + len(split))] - start
        parts = (split.take(inside[i : i + CHUNK]) for i in range(0, len(inside), CHUNK))
        tokens += [length for part in parts for length in lengths_of(part, tokenizer)]
        start += len(split)
    return Lengths(rows=rows, tokens=np.array(tokens, dtype=np.int64), limit=limit)


def lengths_of(split: Split, tokenizer: Any) -> list[int]:
    encoded = tokenizer(
        list(split.texts),
        None if split.pairs is None else list(split.pairs),
        is_split_into_words=not isinstance(split.texts[0], str),
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # it would warn of every text beyond its limit
    )
    return list(map(len, encoded["input_ids"]))
