"""A task as tokens for one backbone: each split tokenised once, cut to a length that suits the texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trainers.backbone import Backbone
from trainers.output_scale import OutputScale, output_scale
from trainers.task import Task
from trainers.token_cache import Entry, cached
from trainers.token_keys import key_of
from trainers.tokenising import read_rows, tokenise
from trainers.tokens import Tokens
from trainers.truncation import HEAD, Counts

LENGTH_QUANTILE = 0.99
"""Texts longer than this share of the training rows are cut: a few long rows must not set everyone's cost."""
MOST_WORD_TOKENS = 512
"""Longest part of a row of words that is read at once."""


@dataclass(frozen=True)
class Data:
    """A task with its splits tokenised for one backbone."""

    task: Task
    train: Tokens
    validation: Tokens
    test: Tokens
    max_length: int
    """Tokens after which a text is cut, and a row of words is read in parts."""
    centred: bool = True
    """Whether heads have a bias, which holds the centre of the labels."""

    @cached_property
    def scale(self) -> OutputScale:
        """From what heads give to what they predict."""
        return output_scale(self.task, centred=self.centred)


def prepare(task: Task, backbone: Backbone, truncation: str = HEAD) -> Data:
    """Tokenise all splits once, with a maximum length chosen from the training rows.

    `truncation` is one of `trainers.truncation.STRATEGIES`. Tokens that were made before, by any process of
    this user, come from `trainers.token_cache`.
    """
    splits = (task.train, task.validation, task.test)
    settings = (backbone.max_length, truncation, LENGTH_QUANTILE, MOST_WORD_TOKENS)
    entry = cached(
        key_of(splits, backbone.tokenizer, *settings),
        [np.asarray(split.labels) for split in splits],
        lambda: _tokenised(task, backbone, truncation),
    )
    train, validation, test = entry.tokens
    if task.validation is task.train:
        validation = train  # with folds; what is computed for one is not computed again
    return Data(task, train, validation, test, entry.length, backbone.head.bias)


def _tokenised(task: Task, backbone: Backbone, truncation: str) -> Entry:
    tokenizer = backbone.tokenizer
    if task.train.offsets is not None:
        # Words are not cut but read in parts, which are as long as the backbone reads: context is worth
        # more than the little that long batches cost.
        length = min(backbone.max_length, MOST_WORD_TOKENS)
        train = tokenise(task.train, tokenizer, length)
    else:
        rows = read_rows(task.train, tokenizer, backbone.max_length, truncation)
        length = choose_length(rows.lengths, backbone.max_length)
        train = rows.cut(length)
    held_out = (
        train if split is task.train else tokenise(split, tokenizer, length, truncation)
        for split in (task.validation, task.test)
    )
    return Entry((train, *held_out), length)


def choose_length(lengths: Counts, limit: int) -> int:
    """The 99 % quantile of the lengths, rounded up to a multiple of 8, at most `limit`."""
    quantile = int(np.quantile(lengths, LENGTH_QUANTILE, method="higher"))
    return min(limit, -(-quantile // 8) * 8)
