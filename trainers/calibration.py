"""How fast a small module trains on this data and device: a few steps, before anything is searched."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from trainers.backbone import Backbone
from trainers.data import Data
from trainers.methods.lora import LoRAConfig
from trainers.stack import Candidate
from trainers.tokens import Tokens
from trainers.train import BATCH_SIZE, EVALUATION_BATCH_SIZE, Training, logits_of, start

STEPS = 3
"""Steps that are timed, after one that is not."""


def can_calibrate(backbone: Backbone) -> bool:
    """Whether the small module finds its places on this backbone."""
    return not LoRAConfig.missing(backbone.sites)


def seconds_per_epoch(backbone: Backbone, data: Data, candidates: int, scores: float) -> float:
    """Device-seconds of one epoch of one of `candidates` small LoRA modules in a stack.

    `scores` is how often a candidate is scored on validation in an epoch, such as 0.3.
    """
    stack = [Candidate(LoRAConfig(), seed) for seed in range(candidates)]
    chance = np.random.default_rng(0)

    def on(steps: int) -> Training:
        some = replace(data, train=_some(data.train, steps * BATCH_SIZE, chance))
        return start(backbone, some, stack, epochs=1, seed=0)

    _epoch_seconds(on(1))
    timed = on(STEPS)
    step = _epoch_seconds(timed) * BATCH_SIZE / len(timed.data.train)
    rows = _some(data.validation, EVALUATION_BATCH_SIZE, chance)
    begin = time.perf_counter()
    logits_of(timed.stack, rows)
    score = (time.perf_counter() - begin) / len(rows)
    seconds = step * len(data.train) / BATCH_SIZE + scores * score * len(data.validation)
    return seconds / candidates


def _some(tokens: Tokens, rows: int, chance: np.random.Generator) -> Tokens:
    """Rows drawn at random: their lengths are those of the split."""
    return tokens.take(np.sort(chance.permutation(len(tokens))[:rows]))


def _epoch_seconds(training: Training) -> float:
    begin = time.perf_counter()
    with training.stack.attached():
        training.train_until(1)
    return time.perf_counter() - begin
