"""The linear probe: a linear model on the features of the untouched backbone."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.backbone import Backbone
from trainers.baseline_scores import merit
from trainers.batches import Tokens, batches, evaluation_order
from trainers.heads import read_features
from trainers.linear_heads import Features, solve, strengths
from trainers.stack import State
from trainers.train import EVALUATION_BATCH_SIZE, Data, Logits

MOST_WORDS = 20_000
"""Training words that are solved for; each of them weighs about four times its features' size."""


@dataclass(frozen=True)
class Probe:
    """A solved head."""

    state: State
    """The head in the form in which a stack holds it."""
    strength: float
    validation_logits: Logits
    test_logits: Logits
    separation: float
    """How far the features tell the labels apart before anything is trained; see `separation`."""
    seconds: float


def linear_probe(backbone: Backbone, data: Data) -> Probe:
    """Solve for the head at several strengths and keep the best on validation.

    Features are scaled to unit variance while solving; the scale is folded into the
    head, so that it reads the plain features. Of words at most `MOST_WORDS` are trained on.
    """
    start = time.perf_counter()
    task, seen = data.task, some_rows(data.train)
    train, validation, test = (features(backbone, part) for part in (seen, data.validation, data.test))
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    scaled = (train - mean) / deviation
    found: list[tuple[tuple[float, float], float, State]] = []
    for strength in strengths(task.kind):
        weight, bias = solve(task.kind, scaled, seen.labels, task.outputs, strength)
        weight = weight / deviation
        state = {"head.weight": weight, "head.bias": bias - weight @ mean}
        tensors = {name: torch.tensor(values, dtype=torch.float32) for name, values in state.items()}
        found.append((merit(_logits(tensors, validation), task), strength, tensors))
    _, strength, chosen = max(found, key=lambda one: one[0])
    return Probe(
        state=chosen,
        strength=strength,
        validation_logits=_logits(chosen, validation),
        test_logits=_logits(chosen, test),
        separation=separation(scaled, seen.labels),
        seconds=time.perf_counter() - start,
    )


def separation(values: Features, labels: NDArray[Any]) -> float:
    """The correlation ratio of the features and the classes, adjusted for chance, in [0, 1].

    The square root of epsilon squared (Kelley 1935), 1 - (1 - between / all) (n - 1) / (n - C): the share of
    the features' variance that lies between classes, less what it is on average where classes mean nothing.
    Of several labels in a row each makes two classes, and the shares are averaged; numbers are parted at
    their median.
    """
    if labels.dtype.kind == "f" and labels.ndim == 1:
        labels = (labels > np.median(labels)).astype(np.int64)
    centred = values - values.mean(0)
    partings = labels.astype(np.int64).T if labels.ndim == 2 else labels[None]
    return math.sqrt(max(0.0, float(np.mean([_explained(centred, parting) for parting in partings]))))


def _explained(centred: Features, classes: NDArray[np.int64]) -> float:
    counts, rows = np.bincount(classes), len(classes)
    sums = np.zeros((len(counts), centred.shape[1]))
    np.add.at(sums, classes, centred)
    between = float(((sums**2).sum(1) / np.maximum(counts, 1)).sum())
    total = float((centred.astype(np.float64) ** 2).sum())
    free = rows - int((counts > 0).sum())
    return 1 - (1 - between / total) * (rows - 1) / free if total and free else 0.0


def some_rows(tokens: Tokens) -> Tokens:
    """The first rows, up to `MOST_WORDS` words; all of them where rows are what is predicted."""
    if tokens.places is None or len(tokens.labels) <= MOST_WORDS:
        return tokens
    return tokens.take(np.arange(max(1, int(np.searchsorted(tokens.bounds, MOST_WORDS, side="right")) - 1)))


@torch.no_grad()
def features(backbone: Backbone, tokens: Tokens) -> Features:
    """What the heads read of the untouched backbone, fp32, `[rows or words, hidden size]`."""
    plain = backbone.in_fp32
    found = np.empty((len(tokens.labels), plain.hidden_size), dtype=np.float32)
    order = evaluation_order(tokens.lengths, EVALUATION_BATCH_SIZE)
    for batch in batches(tokens, order, plain.pad_token_id, plain.device):
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if plain.family.decoder:
            inputs |= plain.positions(batch.attention_mask, torch.zeros_like(batch.attention_mask[:, :1]))
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = batch.token_type_ids
        hidden = plain.model(**inputs).last_hidden_state
        found[batch.items] = read_features(plain, hidden, batch)[0].cpu().numpy()
    return found


def _logits(state: State, values: Features) -> Logits:
    logits: Logits = values @ state["head.weight"].numpy().T + state["head.bias"].numpy()
    return logits
