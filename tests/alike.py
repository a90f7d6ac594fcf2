"""Long texts that are nothing like each other, and near duplicates of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tiny import WORDS


def long_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 40 words that are nothing like each other."""
    chance = np.random.default_rng(seed)
    return [
        " ".join(f"{word}{chance.integers(50)}" for word in chance.choice(WORDS, 40)) for _ in range(count)
    ]


def edited(text: str, number: int) -> str:
    """The text with another last word: their overlap is above 0.9."""
    return " ".join([*text.split()[:-1], f"edit{number}"])


def shuffled(texts: Sequence[str]) -> list[str]:
    return [texts[i] for i in np.random.default_rng(1).permutation(len(texts))]
