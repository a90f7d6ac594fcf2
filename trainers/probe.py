"""The linear probe: logistic regression on the features of the untouched backbone."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from trainers.backbone import Backbone
from trainers.batches import Tokens, batches, evaluation_order
from trainers.metrics import metrics_of
from trainers.stack import State
from trainers.train import EVALUATION_BATCH_SIZE, Data, Logits

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse regularisation strengths tried; the validation split chooses."""

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Probe:
    """A solved head."""

    state: State
    """The head in the form in which a stack holds it."""
    strength: float
    validation_logits: Logits
    test_logits: Logits
    seconds: float


def linear_probe(backbone: Backbone, data: Data, metric: str) -> Probe:
    """Solve for the head with L-BFGS at several strengths and keep the best on validation.

    Features are scaled to unit variance while solving; the scale is folded into the
    head, so that it reads the plain features.
    """
    start = time.perf_counter()
    train, validation, test = (features(backbone, part) for part in (data.train, data.validation, data.test))
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    best: tuple[float, float, State] | None = None
    for strength in STRENGTHS:
        state = _solve((train - mean) / deviation, data.train.labels, strength, data.classes, mean, deviation)
        score = metrics_of(_logits(state, validation), data.validation.labels)[metric]
        if best is None or score > best[0]:
            best = (score, strength, state)
    assert best is not None
    _, strength, state = best
    return Probe(
        state=state,
        strength=strength,
        validation_logits=_logits(state, validation),
        test_logits=_logits(state, test),
        seconds=time.perf_counter() - start,
    )


@torch.no_grad()
def features(backbone: Backbone, tokens: Tokens) -> Features:
    """What the heads read of the untouched backbone, fp32, `[rows, hidden size]`."""
    plain = backbone.in_fp32
    found = np.empty((len(tokens), plain.hidden_size), dtype=np.float32)
    order = evaluation_order(tokens.lengths, EVALUATION_BATCH_SIZE)
    for batch in batches(tokens, order, plain.pad_token_id, plain.device):
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if plain.family.decoder:
            inputs |= plain.positions(batch.attention_mask, torch.zeros_like(batch.attention_mask[:, :1]))
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = batch.token_type_ids
        hidden = plain.model(**inputs).last_hidden_state
        found[batch.rows] = plain.features(hidden, batch.attention_mask).cpu().numpy()
    return found


def _solve(
    scaled: Features,
    labels: NDArray[np.int64],
    strength: float,
    classes: int,
    mean: Features,
    deviation: Features,
) -> State:
    solver = LogisticRegression(C=strength, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a nearly converged head is scored like any other
        solver.fit(scaled, labels)
    weight = np.zeros((classes, scaled.shape[1]))
    bias = np.full(classes, -30.0)  # a class without training rows is never predicted
    if len(solver.classes_) == 2:
        first, second = solver.classes_
        bias[[first, second]] = 0.0, solver.intercept_[0]
        weight[second] = solver.coef_[0]
    else:
        weight[solver.classes_], bias[solver.classes_] = solver.coef_, solver.intercept_
    weight = weight / deviation
    bias = bias - weight @ mean
    return {"head.weight": torch.tensor(weight, dtype=torch.float32), "head.bias": torch.tensor(bias).float()}


def _logits(state: State, values: Features) -> Logits:
    logits: Logits = values @ state["head.weight"].numpy().T + state["head.bias"].numpy()
    return logits
