"""Entities and words: against conlleval's rules and seqeval's example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainers.metrics import metrics_of, score
from trainers.spans import marks_spans, span_counts, word_counts

TAGS = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER", "E-PER", "S-PER", "L-MISC", "U-MISC")
Rows = list[list[int]]


def entities(tags: list[str]) -> set[tuple[str, int, int]]:
    """As conlleval finds them: one word after another, with what ends and begins a chunk."""
    found, begin = set(), 0
    before, kind_before = "O", ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, kind = {"L": "E", "U": "S"}.get(tag[0], tag[0]), tag[2:]
        ends = (
            before in "ES" or (before in "BI" and prefix in "BSO") or (before != "O" and kind_before != kind)
        )
        if before != "O" and ends:
            found.add((kind_before, begin, place - 1))
        if prefix in "BS" or (before in "ESO" and prefix in "EI") or (prefix != "O" and kind_before != kind):
            begin = place
        before, kind_before = prefix, kind
    return found


def flat(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    offsets = np.cumsum([0, *map(len, rows)])
    return np.concatenate([np.array(row, dtype=np.int64) for row in rows]), offsets.astype(np.int64)


sentences = st.lists(
    st.lists(st.tuples(*[st.integers(0, len(TAGS) - 1)] * 2), min_size=1, max_size=8), min_size=1, max_size=5
)


@given(rows=sentences)
def test_spans_of_each_row_are_those_of_conlleval(rows: list[list[tuple[int, int]]]) -> None:
    predictions, offsets = flat([[one for one, _ in row] for row in rows])
    labels, _ = flat([[other for _, other in row] for row in rows])
    counts, true = span_counts(predictions, labels, offsets, TAGS)
    for row, (begin, end) in enumerate(zip(offsets, offsets[1:], strict=False)):
        guessed, known = (entities([TAGS[i] for i in part[begin:end]]) for part in (predictions, labels))
        assert counts[row].tolist() == [len(guessed & known), len(guessed)]
        assert true[row] == len(known)


def test_span_f1_of_the_example_in_seqevals_readme() -> None:
    tags = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER")
    labels, offsets = flat([[0, 0, 0, 1, 2, 2, 0], [3, 4, 0]])
    predictions, _ = flat([[0, 0, 1, 2, 2, 2, 0], [3, 4, 0]])
    assert score("span_f1", *span_counts(predictions, labels, offsets, tags), tags) == 0.5
    found = metrics_of(
        np.eye(5)[predictions], labels, kind="token-classification", names=tags, offsets=offsets
    )
    assert found["span_f1"] == 0.5
    assert found["token_accuracy"] == pytest.approx(8 / 10)


def test_candidates_are_counted_side_by_side() -> None:
    rng = np.random.default_rng(0)
    offsets = np.array([0, 5, 6, 20])
    predictions, labels = rng.integers(0, 9, (3, 20)), rng.integers(0, 9, 20)
    together, _ = span_counts(predictions, labels, offsets, TAGS)
    for i in range(3):
        assert (together[i] == span_counts(predictions[i], labels, offsets, TAGS)[0]).all()


def test_right_words_are_counted_for_each_row() -> None:
    counts, words = word_counts(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), np.array([0, 3, 4]))
    assert counts.tolist() == [[2, 3], [1, 1]] and words.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["O", "B-PER", "I-PER"], True),
        (["S-x", "E-x", "U-y", "L-y"], True),
        (["NOUN", "VERB", "O"], False),
        (["O"], False),
        (["B-", "O"], False),
    ],
)
def test_prefixed_tags_mark_spans(tags: list[str], expected: bool) -> None:
    assert marks_spans(tags) is expected
