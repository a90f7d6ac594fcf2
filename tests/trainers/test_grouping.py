"""Near duplicates stay on one side of a made split, templates and chains do not tie everything together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from alike import edited, long_texts, shuffled

from trainers import grouping
from trainers.duplicates import near_duplicates
from trainers.grouping import grouped
from trainers.making import make_splits
from trainers.sampling import group_keys
from trainers.splits import Making, Split
from trainers.texts import Texts


def made(texts: Sequence[str], labels: np.ndarray | None = None, **options: object) -> tuple[dict, dict]:
    splits = {"train": Split(Texts.of(texts), None, np.arange(len(texts)) % 2 if labels is None else labels)}
    origin = {"train": "given"}
    how = Making(file="f", kind="classification", labels=("a", "b"), train_rows=None, seed=0, **options)  # type: ignore[arg-type]
    make_splits(splits, origin, how)
    return splits, origin


def test_near_duplicates_never_straddle_made_splits() -> None:
    originals = long_texts(60)
    texts = shuffled(originals + [edited(text, i) for text in originals[:30] for i in range(3)])
    assert len(near_duplicates([texts]))
    splits, origin = made(texts)
    rows = [(name, text) for name, split in splits.items() for text in split.texts]
    pairs = near_duplicates([[text for _, text in rows]])
    assert len(pairs) >= 90
    assert all(rows[a][0] == rows[b][0] for a, b in pairs.tolist())
    assert sorted(text for _, text in rows) == sorted(texts)
    by = "stratified, grouped by text and near duplicates, seed 0"
    assert origin["test"] == f"made: 20 % of f, {by}"
    assert origin["validation"] == f"made: 20 % of the other rows of f, {by}"


def test_a_pair_is_near_only_when_both_texts_are() -> None:
    (first,), (second,) = long_texts(1), long_texts(1, seed=1)
    texts = [first, edited(first, 1), first, *long_texts(40, seed=2)]
    pairs = [second, edited(second, 1), "something else", *long_texts(40, seed=3)]
    near = grouped(texts, pairs).near
    assert near[0] == near[1] != near[2]


def test_words_are_compared_as_the_text_they_make() -> None:
    (text,) = long_texts(1)
    rows = [text.split(), edited(text, 1).split(), *(other.split() for other in long_texts(40, seed=1))]
    near = grouped(Texts.of([tuple(row) for row in rows])).near
    assert near[0] == near[1] and len(np.unique(near)) == 41


def test_what_is_alike_through_others_is_one_group() -> None:
    (text,) = long_texts(1)
    words = text.split()
    chain = [" ".join([*(f"new{i}" for i in range(step)), *words[step:]]) for step in (0, 3, 6, 9, 12)]
    ends = {tuple(pair) for pair in near_duplicates([chain]).tolist()}
    assert (0, 4) not in ends and {(0, 1), (3, 4)} <= ends
    near = grouped(chain + long_texts(100, seed=1)).near
    assert len(set(near[:5].tolist())) == 1


def test_a_template_falls_back_into_its_equal_texts() -> None:
    template = long_texts(1)[0]
    texts = [edited(template, i // 2) for i in range(60)] + long_texts(140, seed=1)
    groups = grouped(texts)
    np.testing.assert_array_equal(groups.near[:60:2], groups.near[1:60:2])
    assert len(np.unique(groups.near)) == 170
    assert groups.by == "grouped by text and near duplicates (but for 1 with over 10 % of the rows)"


def test_many_equal_texts_are_no_template() -> None:
    groups = grouped(["the same"] * 60 + long_texts(40))
    assert groups.by == "grouped by text and near duplicates" and len(set(groups.near[:60].tolist())) == 1


def test_labels_whose_near_duplicates_are_too_many_are_still_held_out() -> None:
    # each label owes 4 of its 20 rows, which are three groups of 6 or 7
    originals = long_texts(12)
    texts = [edited(originals[3 * label + i % 3], i) for label in range(4) for i in range(20)]
    labels = np.repeat(np.arange(4), 20)
    splits, origin = {"train": Split(Texts.of(texts), None, labels)}, {"train": "given"}
    how = Making(file="f", kind="classification", labels=tuple("abcd"), train_rows=None, seed=0)
    make_splits(splits, origin, how)
    assert np.bincount(splits["test"].labels).tolist() == [4] * 4
    assert "grouped by text (groups of near duplicates are too large)" in origin["test"]


@pytest.mark.parametrize(("limit", "most"), [("MOST_TEXTS", 99), ("MOST_CHARACTERS", 10_000)])
def test_beyond_a_size_only_equal_texts_are_grouped(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = long_texts(99) + ["a b", "A b "]
    assert len(np.unique(grouped([*texts, edited(texts[0], 1)]).near)) == 100
    monkeypatch.setattr(grouping, limit, most)
    groups = grouped([*texts, edited(texts[0], 1)])
    assert len(np.unique(groups.near)) == 101
    assert groups.by.startswith("grouped by text (no near duplicates are looked for beyond")


def test_made_splits_are_the_same_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = long_texts(40)
    texts = shuffled(originals + [edited(text, i) for text in originals for i in range(3)])
    splits, _ = made(texts)
    # text hashes differ from process to process
    monkeypatch.setattr(grouping, "group_keys", lambda *parts: group_keys(*parts) * 3 + 1)
    again, _ = made(texts)
    assert all(again[name].texts == split.texts for name, split in splits.items())
