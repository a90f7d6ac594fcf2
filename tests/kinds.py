"""Short files of every kind of task, of our own making, that a tiny backbone can learn something from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tiny import WORDS

NOUNS, PRAISE = ("film", "plot", "actor", "music"), ("good", "great", "moving", "kind", "warm", "happy")
ROWS = 60

KIND_OF = {
    "reviews.csv": ("classification", "accuracy"),
    "claims.jsonl": ("pair-classification", "accuracy"),
    "topics.jsonl": ("multi-label", "micro_f1"),
    "stars.csv": ("regression", "pearson"),
    "likeness.tsv": ("pair-regression", "pearson"),
    "parts.jsonl": ("token-classification", "token_accuracy"),
    "names.jsonl": ("token-classification", "span_f1"),
}
"""File -> the kind and the metric that Peltier is to find by itself."""


def rows_of(file: str) -> list[dict[str, Any]]:
    """The rows of one of the files."""
    chance = np.random.default_rng(len(file))
    texts = [[str(word) for word in chance.choice(WORDS, chance.integers(3, 9))] for _ in range(ROWS)]
    return [row_of(file, i, words, texts[i - 1]) for i, words in enumerate(texts)]


def row_of(file: str, number: int, words: list[str], others: list[str]) -> dict[str, Any]:
    """Each label can be told from single words."""
    text, other, praise = " ".join(words), " ".join(others), sum(word in PRAISE for word in words)
    second = text if number % 2 else other
    if file == "reviews.csv":
        return {"review": text, "sentiment": "liked" if praise else "disliked"}
    if file == "claims.jsonl":
        return {"premise": text, "hypothesis": second, "label": "same" if number % 2 else "other"}
    if file == "topics.jsonl":
        return {"text": text, "labels": [noun for noun in NOUNS if noun in words]}
    if file == "stars.csv":
        return {"text": text, "stars": 1 + praise / 2}
    if file == "likeness.tsv":
        shared = len(set(second.split()) & set(words)) / len(set(words))
        return {"sentence1": text, "sentence2": second, "score": round(5 * shared, 2)}
    tags = ["NOUN" if word in NOUNS else "VERB" if word in ("love", "hate") else "X" for word in words]
    if file == "parts.jsonl":
        return {"tokens": words, "tags": tags}
    return {"tokens": words, "ner_tags": ["B-THING" if tag == "NOUN" else "O" for tag in tags]}


def write_file(folder: Path, file: str) -> Path:
    """One of the files in a folder."""
    rows, path = rows_of(file), folder / file
    if file.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    mark = "," if file.endswith(".csv") else "\t"
    lines = [mark.join(rows[0]), *(mark.join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path
