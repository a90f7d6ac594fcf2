"""Splits that are made for every kind: in proportion, seeded, and equal texts on one side."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.making import make_splits
from trainers.sampling import group_keys, groups, strata_of
from trainers.splits import Making, Split, content_hash
from trainers.texts import BLOCK_ROWS, Texts

KINDS = ["classification", "multi-label", "regression", "token-classification"]
NAMES = ("a", "b", "c")


def some_split(kind: str, texts: Sequence[str], seed: int) -> Split:
    """Texts with random labels of the kind; words repeat the text."""
    rng = np.random.default_rng(seed)
    rows = len(texts)
    if kind == "token-classification":
        lengths = rng.integers(1, 5, rows)
        words = [(text,) * length for text, length in zip(texts, lengths, strict=True)]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Split(Texts.of(words), None, rng.integers(0, 3, offsets[-1]), offsets)
    labels: dict[str, Any] = {
        "classification": rng.integers(0, 3, rows),
        "multi-label": rng.integers(0, 2, (rows, 3)).astype(np.float32),
        "regression": rng.normal(size=rows).astype(np.float32),
    }
    return Split(Texts.of(texts), None, labels[kind])


def made(kind: str, split: Split, *, seed: int = 0, train_rows: int | None = None) -> dict[str, Split]:
    splits, origin = {"train": split}, {"train": "given"}
    make_splits(splits, origin, Making(file="f", kind=kind, labels=NAMES, train_rows=train_rows, seed=seed))
    return splits


@pytest.mark.parametrize("kind", KINDS[1:])
@given(
    texts=st.lists(st.sampled_from("ABCDEFGHIJKLMNOPQRST"), min_size=15, max_size=40), seed=st.integers(0, 9)
)
@settings(max_examples=30)
def test_duplicate_texts_of_any_kind_never_straddle_splits(kind: str, texts: list[str], seed: int) -> None:
    if len(set(texts)) < 12:
        return
    try:
        splits = made(kind, some_split(kind, texts, seed), seed=seed)
    except ValueError:  # groups too large to hold out
        return
    seen = [set(group_keys(split.texts).tolist()) for split in splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert sum(map(len, splits.values())) == len(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_every_row_keeps_its_labels(kind: str) -> None:
    texts = [f"text {i}" for i in range(100)]
    whole = some_split(kind, texts, 0)
    first, again, other = (made(kind, whole, seed=seed) for seed in (0, 0, 1))
    hashes = [content_hash(kind, NAMES, splits) for splits in (first, again, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    place = {text: i for i, text in enumerate(whole.texts)}
    for split in first.values():
        rows = np.array([place[text] for text in split.texts])
        np.testing.assert_array_equal(split.labels, whole.take(rows).labels)


def test_a_rare_label_is_spread_over_the_splits() -> None:
    labels = np.zeros((200, 3), dtype=np.float32)
    labels[:, 0] = 1
    labels[:10, 2] = 1  # beside the common one
    splits = made("multi-label", Split(Texts.of([f"t{i}" for i in range(200)]), None, labels))
    assert [int(splits[name].labels[:, 2].sum()) for name in ("train", "validation", "test")] == [6, 2, 2]


def test_a_made_test_split_has_low_and_high_numbers() -> None:
    labels = np.arange(100, dtype=np.float32)
    splits = made("regression", Split(Texts.of([f"t{i}" for i in range(100)]), None, labels))
    # two of each tenth
    assert np.bincount((splits["test"].labels // 10).astype(int)).tolist() == [2] * 10


def test_strata_of_words_are_their_rarest_tags() -> None:
    offsets = np.array([0, 2, 4, 5])
    strata, count = strata_of("token-classification", np.array([0, 1, 0, 0, 2]), offsets, 4)
    # tag 3 never occurs, 1 and 2 once, 0 three times
    assert strata.tolist() == [1, 3, 2] and count == 4


def test_few_numbers_have_few_strata() -> None:
    assert strata_of("regression", np.array([1.0, 2, 3, 4], np.float32), None, 0) == (
        pytest.approx([0] * 4),
        1,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_low_resource_rows_can_be_drawn_of_any_kind(kind: str) -> None:
    whole = some_split(kind, [f"text {i}" for i in range(1500)], 0)
    splits = made(kind, whole, train_rows=20)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [20, 1000, 300]


def test_groups_are_numbered_by_their_first_rows() -> None:
    members, starts = groups(np.array([7, -5, 7, 1, -5, 7]))
    parts = [members[a:b].tolist() for a, b in zip(starts, starts[1:], strict=False)]
    assert parts == [[0, 2, 5], [1, 4], [3]]


def test_texts_in_arrow_behave_like_a_tuple() -> None:
    plain = tuple(f"text {i % 7}" for i in range(BLOCK_ROWS + 5))
    texts = Texts.of(plain)
    assert texts == plain and texts != plain[1:] and texts != [*plain[:-1], "other"]
    assert (texts[0], texts[-1], len(texts)) == (plain[0], plain[-1], len(plain))
    assert texts[::-3] == plain[::-3] and texts[5:9][1:][-1] == plain[8]
    assert "text 6" in texts and texts.index("text 3") == 3
    with pytest.raises(IndexError):
        texts[len(texts)]
    assert pickle.loads(pickle.dumps(texts.take(np.array([3, 3, 0])))) == ("text 3", "text 3", "text 0")
    words = Texts.of([("a", "b"), ("c",)])
    assert words == [("a", "b"), ("c",)] and words[-1] == ("c",)
    assert Texts.of([]) == ()
