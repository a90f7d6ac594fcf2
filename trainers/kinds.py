"""The kinds of task: what is read, what a head gives, and which metrics count."""

from __future__ import annotations

KINDS = (
    "classification",
    "pair-classification",
    "multi-label",
    "regression",
    "pair-regression",
    "token-classification",
)
"""classification: one of several labels for a text; multi-label: any number of them; regression: a number;
token-classification: a label for each word. A pair- kind reads two texts."""

PAIR = "pair-"


def single(kind: str) -> str:
    """The kind without the second text: what is predicted, and how it is scored."""
    return kind.removeprefix(PAIR)


def reads_pairs(kind: str) -> bool:
    """Whether a row has two texts."""
    return kind.startswith(PAIR)
