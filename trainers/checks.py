"""What is wrong with a dataset, before any time is spent on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainers.double_checks import contradictory, nearly_repeated, repeated_across, repeated_inside
from trainers.findings import SEVERITIES, SPLITS, Check, Finding, Lengths, Rows
from trainers.label_checks import balance, few_rows, rare_classes, spelling
from trainers.leakage import telling_columns, telling_words
from trainers.task import Task
from trainers.text_checks import blank_texts, constant_columns, cut_texts

__all__ = ["CHECKS", "SEVERITIES", "SPLITS", "Finding", "Lengths", "examine", "token_lengths"]

CHECKS: tuple[Check, ...] = (
    few_rows,
    rare_classes,
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
    """How many tokens each row has for a tokenizer of transformers; the backbone reads `limit` of them."""
    parts = []
    for split in (task.train, task.validation, task.test):
        encoded = tokenizer(
            list(split.texts),
            None if split.pairs is None else list(split.pairs),
            is_split_into_words=not isinstance(split.texts[0], str),
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # it would warn of every text beyond its limit
        )
        parts.append(np.fromiter(map(len, encoded["input_ids"]), dtype=np.int64))
    return Lengths(tokens=np.concatenate(parts), limit=limit)
