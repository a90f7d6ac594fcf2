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
from trainers.batches import batches, evaluation_order
from trainers.cross_validation import item_folds, out_of_fold
from trainers.data import Data
from trainers.heads import read_features
from trainers.linear_heads import Features, solve, strengths
from trainers.profiling import EVALUATION, part
from trainers.stack import State
from trainers.task import Task
from trainers.tokens import Tokens
from trainers.train import EVALUATION_BATCH_SIZE, Logits

MOST_WORDS = 20_000
"""Training words that are solved for; each of them weighs about four times its features' size."""
SEED = 0
"""Of a native head's dense layer."""


@dataclass(frozen=True)
class Probe:
    """A solved head."""

    state: State
    """The head in the form in which a stack holds it."""
    strength: float
    validation_logits: Logits
    """With folds those out of fold."""
    test_logits: Logits
    separation: float
    """How far the features tell the labels apart before anything is trained; see `separation`."""
    seconds: float
    module_logits: Logits | None = None
    """With folds, what the head itself gives on the validation rows."""


def linear_probe(backbone: Backbone, data: Data) -> Probe:
    """Solve for the head at several strengths and keep the best on validation, or out of fold.

    Features are scaled to unit variance while solving; the scale is folded into the
    head, so that it reads the plain features. A head's dense layer stays as it is drawn.
    Of words at most `MOST_WORDS` are trained on.
    """
    start = time.perf_counter()
    task, seen = data.task, some_rows(data.train)
    first = backbone.head.initial(task.outputs, backbone.hidden_size, torch.Generator().manual_seed(SEED))
    splits = (seen, data.validation, data.test)
    # With folds training rows are the validation rows, too.
    values = {
        number: _inner(backbone, first, features(backbone, split))
        for number, split in {id(split): split for split in splits}.items()
    }
    train, validation, test = (values[id(split)] for split in splits)
    biased = backbone.head.bias
    whole = heads(task, train, seen.labels, biased)
    own = [_logits(head, validation) for head in whole]
    scored = own if task.folds is None else _out_of_fold(task, train, seen.labels, validation, biased)
    best = max(range(len(whole)), key=lambda one: merit(scored[one], task))
    return Probe(
        state={**first, **whole[best]},
        strength=strengths(task.kind)[best],
        validation_logits=scored[best],
        test_logits=_logits(whole[best], test),
        separation=separation(_standardised(train), seen.labels),
        seconds=time.perf_counter() - start,
        module_logits=None if task.folds is None else own[best],
    )


def heads(task: Task, values: Features, labels: NDArray[Any], biased: bool = True) -> list[State]:
    """The last layer at each strength, for plain features; they are centred only where it has a bias."""
    mean, deviation = values.mean(0) * biased, values.std(0) + 1e-6
    scaled = (values - mean) / deviation
    found = []
    for strength in strengths(task.kind):
        weight, bias = solve(task.kind, scaled, labels, task.outputs, strength, with_bias=biased)
        weight = weight / deviation
        state = {"head.weight": weight, "head.bias": bias - weight @ mean}
        if not biased:
            del state["head.bias"]
        found.append({name: torch.tensor(values, dtype=torch.float32) for name, values in state.items()})
    return found


def _out_of_fold(
    task: Task, train: Features, labels: NDArray[Any], validation: Features, biased: bool
) -> list[Logits]:
    """At each strength each fold's logits from the head of the other folds."""
    folds = item_folds(task)
    parts = []
    for fold in range(task.fold_count):
        others = folds[: len(labels)] != fold
        own = validation[folds == fold]
        parts.append([_logits(head, own) for head in heads(task, train[others], labels[others], biased)])
    return [out_of_fold(task, each) for each in zip(*parts, strict=True)]


def _standardised(values: Features) -> Features:
    scaled: Features = (values - values.mean(0)) / (values.std(0) + 1e-6)
    return scaled


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
    with part(EVALUATION):
        for batch in batches(tokens, order, plain.pad_token_id, plain.device):
            inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
            if plain.family.decoder:
                inputs |= plain.positions(batch.attention_mask)
            if batch.token_type_ids is not None:
                inputs["token_type_ids"] = batch.token_type_ids
            hidden = plain.model(**inputs).last_hidden_state
            found[batch.items] = read_features(plain, hidden, batch)[0].cpu().numpy()
    return found


def _inner(backbone: Backbone, head: State, values: Features) -> Features:
    """What the head's last layer reads."""
    tensors = {name: tensor.unsqueeze(0) for name, tensor in head.items()}
    inner: Features = backbone.head.inner(tensors, torch.from_numpy(values).unsqueeze(0))[0].numpy()
    return inner


def _logits(state: State, values: Features) -> Logits:
    logits: Logits = values @ state["head.weight"].numpy().T
    return logits + state["head.bias"].numpy() if "head.bias" in state else logits
