"""Tasks: columns by convention, labels, and splits that are given or made."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainers.columns import choose_columns
from trainers.task import Split, Task, TaskError, read_task

Pairs = list[tuple[str, str]]


def write(path: Path, rows: Pairs) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def balanced(rows: int, labels: str = "abcd") -> Pairs:
    return [(f"example {i}", labels[i % len(labels)]) for i in range(rows)]


def keys(split: Split) -> set[str]:
    return {text.strip().casefold() for text in split.texts}


def parts(task: Task) -> list[Split]:
    return [task.train, task.validation, task.test]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("text,label", "classification text None label"),
        ("id,Sentence,Intent", "classification Sentence None Intent"),
        (
            "idx,sentence1,sentence2,label",
            "pair-classification sentence1 sentence2 label",
        ),  # GLUE mrpc, rte, wnli
        ("question,sentence,label,idx", "pair-classification question sentence label"),  # GLUE qnli
        ("question1,question2,label", "pair-classification question1 question2 label"),  # GLUE qqp
        ("premise,hypothesis,label", "pair-classification premise hypothesis label"),  # GLUE mnli
        ("sentence,label,idx", "classification sentence None label"),  # GLUE cola, sst2
        ("question,answer,category", "classification question None category"),
        ("text,label,label_text", "classification text None label"),
        ("title,text,category,label", "classification text None label"),
        ("words,label", "classification words None label"),
        ("text,mood", "classification text None mood"),
    ],
)
def test_conventional_columns_are_found(names: str, expected: str) -> None:
    chosen = choose_columns("f", names.split(","), text=None, text_pair=None, label=None, kind=None)
    assert f"{chosen.kind} {chosen.text} {chosen.text_pair} {chosen.label}" == expected


def test_given_columns_win_over_conventions() -> None:
    names = ["text", "note", "sentence1", "sentence2", "label", "tone"]
    single = choose_columns("f", names, text="sentence1", text_pair=None, label="tone", kind=None)
    assert (single.kind, single.text, single.label) == ("classification", "sentence1", "tone")
    pair = choose_columns("f", names, text="note", text_pair="text", label=None, kind=None)
    assert (pair.kind, pair.names()) == ("pair-classification", ["note", "text", "label"])
    completed = choose_columns(
        "f", names, text="sentence1", text_pair=None, label=None, kind="pair-classification"
    )
    assert completed.names() == ["sentence1", "sentence2", "label"]
    alone = choose_columns(
        "f",
        ["premise", "hypothesis", "label"],
        text="premise",
        text_pair=None,
        label=None,
        kind="classification",
    )
    assert alone.names() == ["premise", "label"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "'title', 'body', 'intent', 'tag'.*name them with --text.*--label"),
        ({"label": "tag"}, "name them with --text"),
        ({"text": "wrong"}, "no column 'wrong'; it has 'title', 'body'.*--text"),
        ({"text": "body", "label": "body"}, "'body' of f.csv is given twice"),
        ({"kind": "ranking"}, "'ranking' is unknown; choose --task from classification, pair-"),
        ({"kind": "classification", "text": "title", "text_pair": "body"}, "leave out --text-pair"),
        ({"kind": "pair-classification", "text": "body", "label": "tag"}, "name them with --text-pair"),
    ],
)
def test_what_cannot_be_decided_is_asked_for(options: dict[str, str], message: str) -> None:
    given = dict.fromkeys(("text", "text_pair", "label", "kind")) | options
    with pytest.raises(TaskError, match=message):
        choose_columns("f.csv", ["title", "body", "intent", "tag"], **given)


def test_numeric_labels_sort_as_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [(f"t{i}", str(label)) for i, label in enumerate([10, 9, -1] * 5)])
    assert read_task(path).labels == ("-1", "9", "10")


def test_fractions_are_classes_when_the_user_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [(f"t{i}", label) for i, label in enumerate(["0.5", "1.0"] * 5)])
    assert read_task(path, kind="classification").labels == ("0.5", "1.0")


def test_given_splits_are_kept_as_they_are(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.csv", balanced(8)) for name in ("train", "validation", "test")]
    task = read_task(*paths, metric="macro_f1")
    assert task.summary() == {
        "name": "train",
        "kind": "classification",
        "metric": "macro_f1",
        "columns": {"text": "text", "text_pair": None, "label": "label"},
        "labels": ["a", "b", "c", "d"],
        "rows": {"train": 8, "validation": 8, "test": 8},
        "folds": 1,
        "origin": {"train": "given", "validation": "given", "test": "given"},
        "data_hash": task.data_hash,
    }
    assert json.loads(json.dumps(task.summary())) == task.summary()


def test_made_splits_are_stratified_fifths_and_say_how_they_came_about(tmp_path: Path) -> None:
    task = read_task(write(tmp_path / "train.csv", balanced(500)), seed=3)
    assert [len(split) for split in parts(task)] == [320, 80, 100]
    for split in parts(task):
        assert len(set(np.bincount(split.labels))) == 1
    assert sorted(text for split in parts(task) for text in split.texts) == sorted(
        t for t, _ in balanced(500)
    )
    assert task.origin == {
        "train": "the remaining rows of train.csv",
        "test": "made: 20 % of train.csv, stratified, grouped by text and near duplicates, seed 3",
        "validation": "made: 20 % of the other rows of train.csv, stratified, grouped by text and near "
        "duplicates, seed 3",
    }


def test_only_the_missing_split_is_made(tmp_path: Path) -> None:
    train, given = write(tmp_path / "train.csv", balanced(100)), write(tmp_path / "g.csv", balanced(12))
    assert [len(split) for split in parts(read_task(train, given))] == [80, 12, 20]
    assert [len(split) for split in parts(read_task(train, test=given))] == [80, 20, 12]


@given(
    rows=st.lists(st.tuples(st.sampled_from("ABCDEFGHIJ"), st.sampled_from("xyz")), min_size=8, max_size=60)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_duplicate_texts_never_straddle_splits(rows: Pairs, tmp_path: Path) -> None:
    spread = [(f" {text.lower()} " if i % 2 else text, label) for i, (text, label) in enumerate(rows)]
    try:
        task = read_task(write(tmp_path / "t.csv", spread))
    except TaskError:  # one label, a single row of a label, or groups too large to hold out
        return
    train, validation, test = (keys(split) for split in parts(task))
    assert not (train & validation or train & test or validation & test)
    assert sum(map(len, parts(task))) == len(rows)
    assert set(task.train.labels) == set(range(len(task.labels)))


def test_pairs_are_grouped_by_both_texts(tmp_path: Path) -> None:
    rows = [{"text1": f"t{i % 10}", "text2": f"u{i // 10 % 5}", "label": i % 2} for i in range(100)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = read_task(tmp_path / "t.jsonl")
    seen = [set(zip(split.texts, split.pairs or (), strict=True)) for split in parts(task)]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 50
    assert all(seen) and set.intersection(*({text for text, _ in split} for split in seen))


def test_the_seed_decides_the_splits_on_every_machine(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", balanced(50))
    first, again, other = read_task(path), read_task(path), read_task(path, seed=1)
    assert first.test.texts == again.test.texts != other.test.texts
    # from numpy's PCG64, which gives the same stream on every platform
    assert first.data_hash == "3d6d91c4d2c8fcee4fc28e5a1071b7421e1471c09b0573fb8f163e4cf989f704"


def test_the_hash_is_of_the_content_and_not_of_the_file(tmp_path: Path) -> None:
    rows = balanced(50)
    lines = [json.dumps({"number": i, "label": label, "text": text}) for i, (text, label) in enumerate(rows)]
    (tmp_path / "other.jsonl").write_text("\n".join(lines))
    original = read_task(write(tmp_path / "t.csv", rows)).data_hash
    assert read_task(tmp_path / "other.jsonl").data_hash == original
    changed = [*rows[:-1], (rows[-1][0], "a")]
    assert read_task(write(tmp_path / "t.csv", changed)).data_hash != original


def test_low_resource_rows_are_followed_by_a_thousand_validation_rows(tmp_path: Path) -> None:
    path, test = write(tmp_path / "t.csv", balanced(1500)), write(tmp_path / "test.csv", balanced(8))
    task = read_task(path, test=test, train_rows=100)
    assert [len(split) for split in parts(task)] == [100, 1000, 8]
    assert not keys(task.train) & keys(task.validation)
    assert task.origin["train"] == "100 of 1,500 rows, with every label, seed 0"
    assert task.origin["validation"] == (
        "next 1,000 rows after the 100 training rows, grouped by text and near duplicates, seed 0"
    )
    assert len(read_task(path, test=test, train_rows=1400).validation) == 100
    with_test = read_task(path, train_rows=100)
    assert [len(split) for split in parts(with_test)] == [100, 1000, 300]


def test_a_repeated_training_text_is_not_validation(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", balanced(40) * 2)
    task = read_task(path, test=path, train_rows=30)
    assert not keys(task.train) & keys(task.validation)


@pytest.mark.parametrize("seed", range(20))
def test_every_label_occurs_in_the_drawn_rows(seed: int, tmp_path: Path) -> None:
    rows = [(f"t{i}", "common") for i in range(300)] + [(f"r{i}", f"rare{i % 5}") for i in range(10)]
    path = write(tmp_path / "t.csv", rows)
    task = read_task(path, path, path, train_rows=6, seed=seed)
    assert len(task.train) == 6 and len(set(task.train.texts)) == 6
    assert Counter(task.train.labels.tolist()) == Counter(range(6))


@pytest.mark.parametrize("count", [0, 3, 41])
def test_train_rows_that_cannot_be_drawn_are_told(count: int, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", balanced(40))
    with pytest.raises(TaskError, match=f"--train-rows is {count}.*give"):
        read_task(path, path, path, train_rows=count)


def test_train_rows_that_leave_no_validation_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", balanced(40))
    with pytest.raises(TaskError, match="pass --validation"):
        read_task(path, test=path, train_rows=40)


def test_a_label_that_was_never_trained_is_named(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", balanced(40))
    test = write(tmp_path / "test.csv", [("x", "a"), ("y", "A"), ("z", "A")])
    with pytest.raises(
        TaskError, match=r"test\.csv has 1 labels that never occur.*'A'; 2 rows.*drop or rename"
    ):
        read_task(train, test=test)


@pytest.mark.parametrize(("option", "value"), [("metric", "f1"), ("seed", -1)])
def test_wrong_arguments_are_told(option: str, value: object, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", balanced(40))
    with pytest.raises(TaskError, match=f"{option}.*(choose|give)"):
        read_task(path, **{option: value})
