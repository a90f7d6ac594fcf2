"""Folds of the training rows: whom they hold, when they are drawn, and when they are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from alike import edited, long_texts, shuffled
from sklearn.model_selection import StratifiedKFold

from trainers.checks import examine
from trainers.duplicates import near_duplicates
from trainers.sampling import draw_folds
from trainers.task import Task, TaskError, read_task


def write(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def numbered(rows: int, labels: str = "ab") -> list[tuple[str, str]]:
    return [(f"t{i}", labels[i % len(labels)]) for i in range(rows)]


def read(folder: Path, rows: Sequence[tuple[str, str]], **options: object) -> Task:
    """Read rows beside 20 test rows."""
    test = write(folder / "test.csv", [(f"x{i}", rows[i % 2][1]) for i in range(20)])
    return read_task(write(folder / "t.csv", rows), test=test, **options)  # type: ignore[arg-type]


def test_each_label_is_spread_as_scikit_learn_spreads_it() -> None:
    chance = np.random.default_rng(0)
    labels = chance.choice(4, 203, p=[0.6, 0.25, 0.1, 0.05])
    folds = draw_folds(np.arange(203), labels, 4, 5, chance)
    theirs = [np.bincount(labels[held], minlength=4) for _, held in StratifiedKFold(5).split(labels, labels)]
    ours = [np.bincount(labels[folds == fold], minlength=4) for fold in range(5)]
    assert sorted(map(sum, ours)) == sorted(map(sum, theirs)) == [40, 40, 41, 41, 41]
    np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))


def test_near_duplicates_are_in_one_fold(tmp_path: Path) -> None:
    originals = long_texts(40)
    texts = shuffled(originals + [edited(text, i) for text in originals[:20] for i in range(3)])
    task = read(tmp_path, [(text, "ab"[i % 2]) for i, text in enumerate(texts)], folds=4)
    assert task.folds is not None and task.fold_count == 4
    pairs = near_duplicates([list(task.train.texts)])
    assert len(pairs) >= 60
    assert (task.folds[pairs[:, 0]] == task.folds[pairs[:, 1]]).all()
    sizes = np.bincount(task.folds)
    assert sizes.sum() == 100 and sizes.max() - sizes.min() <= 4


def test_the_training_rows_are_the_validation_rows_and_their_origin_says_so(tmp_path: Path) -> None:
    task = read(tmp_path, numbered(100), folds=None)
    assert task.validation is task.train and len(task.train) == 100
    assert task.origin["train"] == "given" and task.origin["validation"] == (
        "the training rows, out of fold: 5 folds, stratified, grouped by text and near duplicates, seed 0"
    )
    assert task.summary()["folds"] == 5


def test_the_seed_decides_the_folds_and_the_hash_knows_them(tmp_path: Path) -> None:
    first, again, other, three = (
        read(tmp_path, numbered(100), folds=folds, seed=seed)
        for folds, seed in ((5, 0), (5, 0), (5, 1), (3, 0))
    )
    np.testing.assert_array_equal(first.folds, again.folds)
    assert first.data_hash == again.data_hash
    assert len({task.data_hash for task in (first, other, three)}) == 3


@pytest.mark.parametrize(("rows", "folds"), [(399, 5), (400, 1)])
def test_folds_are_made_by_themselves_where_rows_are_few(rows: int, folds: int, tmp_path: Path) -> None:
    assert read(tmp_path, numbered(rows), folds=None).fold_count == folds
    assert read(tmp_path, numbered(rows), folds=1).fold_count == 1
    assert read(tmp_path, numbered(rows)).fold_count == 1


def test_a_made_test_split_is_never_folded(tmp_path: Path) -> None:
    task = read_task(write(tmp_path / "t.csv", numbered(100)), folds=None)
    assert [len(split) for split in (task.train, task.validation, task.test)] == [80, 80, 20]
    assert not set(task.train.texts) & set(task.test.texts)


def test_drawn_rows_are_folded_only_when_that_is_asked_for(tmp_path: Path) -> None:
    low_resource = read(tmp_path, numbered(200), folds=None, train_rows=50)
    assert low_resource.folds is None and len(low_resource.validation) == 150
    folded = read(tmp_path, numbered(200), folds=5, train_rows=50)
    assert folded.fold_count == 5 and len(folded.train) == len(folded.validation) == 50


def test_folds_beside_given_validation_rows_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", numbered(100))
    with pytest.raises(TaskError, match="--folds 5 makes the training rows score each other.*leave out"):
        read_task(path, path, path, folds=5)
    assert read_task(path, path, path, folds=None).folds is None
    assert read_task(path, path, path, folds=1).folds is None


def test_more_folds_than_a_label_has_rows_are_refused_and_never_made_unasked(tmp_path: Path) -> None:
    rows = [*numbered(60), *((f"r{i}", "rare") for i in range(4))]
    with pytest.raises(TaskError, match="--folds is 5, but label 'rare' has 4 rows.*give at most 4"):
        read(tmp_path, rows, folds=5)
    task = read(tmp_path, rows, folds=None)
    assert task.fold_count == 4 and "4 folds (label 'rare' has 4 rows)" in task.origin["validation"]
    rare = task.train.labels == task.labels.index("rare")
    assert task.folds is not None and sorted(task.folds[rare]) == [0, 1, 2, 3]
    assert read(tmp_path, rows[:-2], folds=None).fold_count == 3


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["a", "b"], "the rows of t.csv have 2 different texts"), (["a", "b", "c"], "of one")],
)
def test_folds_of_the_same_texts_over_and_over_are_refused(
    texts: Sequence[str], message: str, tmp_path: Path
) -> None:
    rows = [(texts[i % len(texts)], "y" if i % len(texts) == 0 else "z") for i in range(60)]
    with pytest.raises(TaskError, match=message):
        read(tmp_path, rows, folds=3)
    with pytest.raises(TaskError, match="no validation split can be made"):
        read(tmp_path, rows, folds=None)


@pytest.mark.parametrize("folds", [0, -2])
def test_a_number_of_folds_that_is_none_is_told(folds: int, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=f"--folds is {folds}; give 1 for none"):
        read(tmp_path, numbered(40), folds=folds)


def test_rows_that_score_each_other_are_no_duplicates_across_splits(tmp_path: Path) -> None:
    findings = examine(read(tmp_path, numbered(100), folds=None))
    assert {finding.check for finding in findings} == {"too few rows"}
    assert [finding.what for finding in findings] == ["test has 20 rows, so one row moves its score by 0.05"]
    few = examine(read(tmp_path, numbered(12), folds=None))
    assert "train has 12 rows, so one row moves its score by 0.08" in [finding.what for finding in few]
