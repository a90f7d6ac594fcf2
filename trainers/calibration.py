"""How fast a small module trains on this data and device: a few steps, before anything is searched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainers.backbone import Backbone
from trainers.batches import evaluation_order, training_order
from trainers.data import Data
from trainers.methods.lora import LoRAConfig
from trainers.stack import Candidate
from trainers.tokens import Tokens
from trainers.train import BATCH_SIZE, EVALUATION_BATCH_SIZE, logits_of, start

STEPS = 4
"""Batches that are timed, each once it has run before: an operation's first run on a shape takes longer, and
a study runs each shape often. Timed at their first run they foretold twice what a study took."""
SCORED = 2
"""Batches of the validation split, likewise."""


def can_calibrate(backbone: Backbone) -> bool:
    """Whether the small module finds its places on this backbone."""
    return not LoRAConfig.missing(backbone.sites)


def seconds_per_epoch(backbone: Backbone, data: Data, candidates: int, scores: float) -> float:
    """Device-seconds of one epoch of one of `candidates` small LoRA modules in a stack.

    `scores` is how often a candidate is scored on validation in an epoch, such as 0.3.
    """
    stack = [Candidate(LoRAConfig(), seed) for seed in range(candidates)]
    training = start(backbone, data, stack, epochs=1, seed=0)
    batches = spread(training_order(data.train.lengths, BATCH_SIZE, seed=0), data.train, STEPS)
    some = spread(evaluation_order(data.validation.lengths, EVALUATION_BATCH_SIZE), data.validation, SCORED)
    scored = data.validation.take(np.sort(np.concatenate(some)))
    with training.stack.attached():
        step = _second_run(lambda: training.train_batches(batches, 0, len(batches)))
    score = _second_run(lambda: logits_of(training.stack, scored))
    seconds = step / sum(map(len, batches)) * len(data.train)
    seconds += scores * score / len(scored) * len(data.validation)
    return seconds / candidates


def spread(order: Sequence[NDArray[np.int64]], tokens: Tokens, count: int) -> list[NDArray[np.int64]]:
    """So many batches of an order, or all if it has fewer: from short to long at even distances."""
    ranked = sorted(order, key=lambda rows: int(tokens.lengths[rows].max()))
    parts = min(count, len(ranked))
    return [ranked[(2 * i + 1) * len(ranked) // (2 * parts)] for i in range(parts)]


def _second_run(run: Callable[[], object]) -> float:
    run()
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin
