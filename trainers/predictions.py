"""Predictions in words, from logits: one JSON object for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.kinds import single
from trainers.splits import Split

Logits = NDArray[np.float32]


def said(kind: str, labels: Sequence[str], split: Split, logits: Logits) -> Iterator[dict[str, Any]]:
    """What the logits of a split say of each of its rows."""
    base, values = single(kind), torch.from_numpy(logits)
    if base == "regression":
        yield from ({"value": value} for value in logits[:, 0].tolist())
    elif base == "multi-label":
        for row in values.sigmoid().tolist():
            named = dict(zip(labels, row, strict=True))
            yield {"labels": [label for label in labels if named[label] > 0.5], "probabilities": named}
    elif base == "token-classification":
        assert split.offsets is not None
        tags = [labels[tag] for tag in logits.argmax(1)]
        for words, (begin, end) in zip(split.texts, pairwise(split.offsets.tolist()), strict=True):
            yield {"words": list(words), "tags": tags[begin:end]}
    else:
        for row in values.softmax(-1).tolist():
            named = dict(zip(labels, row, strict=True))
            yield {"label": max(named, key=lambda label: named[label]), "probabilities": named}


def same_predictions(kind: str, found: Logits, expected: Logits) -> dict[str, float]:
    """The share of rows, labels or words that two logits predict alike; nothing of numbers."""
    base = single(kind)
    if base == "regression":
        return {}
    if base == "multi-label":
        return {"same_label": float(((found > 0) == (expected > 0)).mean())}
    return {"same_label": float((found.argmax(1) == expected.argmax(1)).mean())}
