"""The linear probe: a linear model on the features of the untouched backbone."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from trainers.backbone import Backbone
from trainers.baseline_scores import merit
from trainers.batches import batches, evaluation_order
from trainers.data import Data
from trainers.heads import read_features
from trainers.linear_heads import Features, solve, strengths
from trainers.stack import State
from trainers.tokens import Tokens
from trainers.train import EVALUATION_BATCH_SIZE, Logits

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
        seconds=time.perf_counter() - start,
    )


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
