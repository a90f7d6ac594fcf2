"""Near duplicates against the Jaccard overlap itself, counted pair by pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tiny import WORDS

from trainers.duplicates import near_duplicates, shingles, signatures_of, words_of


def jaccard(a: str, b: str) -> float:
    first, second = set(shingles(a)), set(shingles(b))
    return len(first & second) / len(first | second)


def edited(text: str, edits: int, chance: np.random.Generator) -> str:
    words = text.split()
    for _ in range(edits):
        words[chance.integers(len(words))] = "edited"
    return " ".join(words)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """60 texts of 40 words, each with a copy in which 0 to 5 words are others."""
    chance = np.random.default_rng(0)
    originals = [
        " ".join(f"{word}{chance.integers(50)}" for word in chance.choice(WORDS, 40)) for _ in range(60)
    ]
    copies = [edited(text, i % 6, chance) for i, text in enumerate(originals)]
    return originals + copies


def test_pairs_are_those_that_overlap_enough(texts: list[str]) -> None:
    found = {tuple(pair) for pair in near_duplicates([texts]).tolist()}
    overlap = {
        pair: jaccard(texts[pair[0]], texts[pair[1]]) for pair in itertools.combinations(range(120), 2)
    }
    # the estimate has a standard error of 0.035: what is decided within two of them is left to chance
    assert {pair for pair, value in overlap.items() if value >= 0.87} <= found
    assert not {pair for pair in found if overlap[pair] < 0.73}
    assert any(0.8 <= overlap[pair] < 1 for pair in found)


def test_estimated_overlap_has_the_error_of_its_128_hashes(texts: list[str]) -> None:
    signatures = signatures_of(texts)
    errors = [
        (signatures[i] == signatures[60 + i]).mean() - jaccard(texts[i], texts[60 + i]) for i in range(60)
    ]
    assert np.sqrt(np.mean(np.square(errors))) < 0.05
    assert abs(np.mean(errors)) < 0.02


def test_case_punctuation_and_order_of_rows_do_not_matter() -> None:
    texts = ["Where is my ORDER, please?", "nothing alike at all", "where is my order please"]
    assert near_duplicates([texts]).tolist() == [[0, 2]]


def test_a_pair_of_texts_is_near_only_when_both_texts_are() -> None:
    premise = "a long premise of many words that stands in front of several short claims about it"
    claims = ["it is long", "it is short", "it is long!"]
    assert near_duplicates([[premise] * 3, claims]).tolist() == [[0, 2]]


def test_texts_without_spaces_and_without_words_are_told_apart() -> None:
    assert words_of("Vy我的订单在哪里") == ["vy", *"我的订单在哪里"]
    texts = [
        "我的订单现在到底在哪里呢请尽快告诉我谢谢",
        "我的订单现在到底在哪里呢请尽快告诉我谢谢。",
        "🙂",
        "🙃",
        "",
        "...",
    ]
    assert near_duplicates([texts]).tolist() == [[0, 1]]


def test_many_texts_of_one_template_give_few_pairs() -> None:
    texts = [" ".join(f"word{i}" for i in range(60)) + f" order {i}" for i in range(400)]
    pairs = near_duplicates([texts])
    assert len(pairs) <= 2 * 16 * 400  # not 400 * 399 / 2
    assert set(pairs[:, 1].tolist()) == set(range(1, 400))


def test_nothing_and_a_single_text_have_no_pairs() -> None:
    assert near_duplicates([[]]).shape == near_duplicates([["alone"]]).shape == (0, 2)
