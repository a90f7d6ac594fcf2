"""The kind and the metric of a task, told by its columns and values; labels in the form of the kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.columns import choose_columns
from trainers.task import Task, TaskError, read_task


def task_of(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Task:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return read_task(folder / "rows.jsonl", **options)


def rows_like(*examples: dict[str, Any], count: int = 30) -> list[dict[str, Any]]:
    """Rows that repeat the labels of the examples with texts of their own."""
    rows = []
    for i in range(count):
        row = dict(examples[i % len(examples)])
        for name in row.keys() - {"label", "labels", "tags", "ner_tags", "score", "stars", "similarity"}:
            row[name] = (
                [*row[name][:-1], f"{row[name][-1]}{i}"]
                if isinstance(row[name], list)
                else f"{row[name]} {i}"
            )
        rows.append(row)
    return rows


WORDS = {"tokens": ["Abby", "sleeps"], "ner_tags": ["B-PER", "O"]}
KINDS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "one label": ([{"text": "a", "label": "x"}, {"text": "a", "label": "y"}], "classification accuracy x,y"),
    "whole numbers": ([{"text": "a", "label": i} for i in range(3)], "classification accuracy 0,1,2"),
    "CoLA": (
        [{"sentence": "a", "label": "acceptable"}, {"sentence": "a", "label": "unacceptable"}],
        "classification matthews acceptable,unacceptable",
    ),
    "QNLI": (
        [{"question": "a", "sentence": "b", "label": label} for label in "yn"],
        "pair-classification accuracy n,y",
    ),
    "BoolQ": (
        [{"question": "a", "passage": "b", "label": label} for label in (True, False)],
        "pair-classification accuracy false,true",
    ),
    "STS-B": (
        [{"sentence1": "a", "sentence2": "b", "label": i / 5} for i in range(9)],
        "pair-regression pearson ",
    ),
    "a fraction": ([{"text": "a", "label": i + 0.5} for i in range(3)], "regression pearson "),
    "stars": ([{"review": "a", "stars": i} for i in range(5)], "regression pearson "),
    "similarity": (
        [{"text_a": "a", "text_b": "b", "similarity": i} for i in range(3)],
        "pair-regression pearson ",
    ),
    "a score of yes and no": ([{"text": "a", "score": i} for i in range(2)], "classification accuracy 0,1"),
    "label beside score": (
        [{"text": "a", "label": label, "score": 0.5} for label in "xy"],
        "classification accuracy x,y",
    ),
    "lists of labels": (
        [{"text": "a", "labels": ["x", "z"]}, {"text": "b", "labels": []}],
        "multi-label micro_f1 x,z",
    ),
    "labels joined": (
        [{"text": "a", "labels": label} for label in ("x|y", "y|z", "x|z", "x|y|z", "x")],
        "multi-label micro_f1 x,y,z",
    ),
    "a comma in a label": (
        [{"text": "a", "label": label} for label in ("x, y", "z")],
        "classification accuracy x, y,z",
    ),
    "entities": ([WORDS], "token-classification span_f1 B-PER,O"),
    "parts of speech": (
        [{"tokens": ["Abby", "sleeps"], "tags": ["PROPN", "VERB"]}],
        "token-classification token_accuracy PROPN,VERB",
    ),
    "words and labels in lists": (
        [{"words": ["a", "b"], "labels": [0, 1]}],
        "token-classification token_accuracy 0,1",
    ),
}


@pytest.mark.parametrize("what", KINDS)
def test_the_kind_is_told_by_columns_and_values(what: str, tmp_path: Path) -> None:
    examples, expected = KINDS[what]
    task = task_of(tmp_path, rows_like(*examples))
    assert f"{task.kind} {task.metric} {','.join(task.labels)}" == expected
    assert json.loads(json.dumps(task.summary()))["kind"] == task.kind


def test_a_kind_that_is_given_wins(tmp_path: Path) -> None:
    rows = rows_like(*[{"text": "a b", "label": i / 2} for i in range(4)])
    assert task_of(tmp_path, rows, kind="classification").labels == ("0", "0.5", "1", "1.5")
    whole = rows_like(*[{"text": "a b", "label": i} for i in range(4)])
    assert task_of(tmp_path, whole, kind="regression").labels == ()
    joined = rows_like(*[{"text": "a", "label": label} for label in ("x, y", "z")])
    assert task_of(tmp_path, joined, kind="multi-label").labels == ("x", "y", "z")
    spaced = rows_like({"text": "a b", "label": "x y z"})
    assert task_of(tmp_path, spaced, kind="token-classification").train.texts[0] == ("a", "b", "0")


def test_the_numbers_of_a_score_are_preferred_for_regression() -> None:
    names = ["text", "label", "stars"]
    given: dict[str, Any] = {"text": None, "text_pair": None, "label": None}
    assert choose_columns("f", names, kind="regression", **given).label == "stars"
    assert choose_columns("f", names, kind=None, **given).label == "label"


def test_numbers_are_read_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{i}", "label": value} for i, value in enumerate([1, 2.25, -3e-3, "4", " 5.5 ", 6, 7, 8])
    ]
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = task_of(tmp_path, rows, test=tmp_path / "other.jsonl", validation=tmp_path / "other.jsonl")
    assert task.train.labels.dtype == np.float32
    np.testing.assert_allclose(task.train.labels, [1, 2.25, -0.003, 4, 5.5, 6, 7, 8], rtol=1e-7)
    assert (task.outputs, task.summary()["labels"]) == (1, [])


def test_a_row_can_have_several_labels_or_none(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{i}", "labels": labels} for i, labels in enumerate([["b", "a"], [], ["b"], ["b", "b"]])
    ]
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "new", "labels": ["c"]}))
    task = task_of(tmp_path, rows, validation=tmp_path / "test.jsonl", test=tmp_path / "test.jsonl")
    assert task.labels == ("a", "b", "c")  # a label of the test split only can be missed, and is
    assert task.train.labels.dtype == np.float32
    assert task.train.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert task.test.labels.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    "cells", [['["b", "a"]', "[]", '["b"]'], ["['b', 'a']", "[]", "['b']"], ["b;a", "", "b"]]
)
def test_a_cell_can_hold_several_labels(cells: list[str], tmp_path: Path) -> None:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    lines = [f"t{i},{cell}" for i, cell in enumerate(quoted)]
    (tmp_path / "rows.csv").write_text("text,labels\n" + "\n".join(lines))
    path = tmp_path / "rows.csv"
    task = read_task(path, path, path, kind=None if "[" in cells[0] else "multi-label")
    assert (task.kind, task.labels) == ("multi-label", ("a", "b"))
    assert task.train.labels.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_words_and_tags_lie_flat_with_offsets(tmp_path: Path) -> None:
    rows = [
        {
            "tokens": ["Abby", "Lee", "sleeps"],
            "ner_tags": ["B-PER", "I-PER", "O"],
            "pos_tags": ["N", "N", "V"],
        },
        {"tokens": ["Go"], "ner_tags": ["O"], "pos_tags": ["V"]},
    ]
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, rows)))
    other = tmp_path / "other.jsonl"
    task = task_of(tmp_path, rows, validation=other, test=other)
    split = task.train
    assert list(split.texts) == [("Abby", "Lee", "sleeps"), ("Go",)]
    assert (task.labels, task.label) == (("B-PER", "I-PER", "O"), "ner_tags")
    assert split.offsets is not None and split.offsets.tolist() == [0, 3, 4]
    assert split.labels.tolist() == [0, 1, 2, 2]
    turned = split.take(np.array([1, 0, 1]))
    assert turned.offsets is not None and turned.offsets.tolist() == [0, 1, 4, 5]
    assert turned.labels.tolist() == [2, 0, 1, 2, 2] and turned.texts[0] == ("Go",)


def test_words_in_a_csv_are_lists_or_separated_by_spaces(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("tokens,ner_tags\nAbby sleeps,B-PER O\n")
    spaces = read_task(path, path, path)
    path.write_text("tokens,ner_tags\n\"['Abby', 'sleeps']\",\"['B-PER', 'O']\"\n")
    lists = read_task(path, path, path)
    assert list(spaces.train.texts) == list(lists.train.texts) == [("Abby", "sleeps")]
    assert spaces.data_hash == lists.data_hash


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ([0.5, "high"], {"kind": "regression"}, "'high', which is no finite number"),
        ([0.5, "inf"], {"kind": "regression"}, "'inf', which is no finite number.*--task classification"),
        (
            [0.5, 1.5],
            {"metric": "accuracy"},
            "'accuracy' is unknown for regression; choose --metric from pearson",
        ),
        ([["x"], []], {"metric": "f1:y"}, "names no label of the data; choose a label from 'x'"),
        ([["x"], []], {"metric": "span_f1"}, "unknown for multi-label.*f1:LABEL"),
        ([[], []], {}, "has 0 different labels"),
        (["x", "y"], {"kind": "multi-label", "text_pair": "text"}, "given twice|leave out --text-pair"),
    ],
)
def test_what_does_not_suit_the_kind_is_told(
    label: list[Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match=message):
        task_of(tmp_path, rows_like(*({"text": "a", "label": each} for each in label)), **options)


def test_spans_cannot_be_scored_where_the_tags_mark_none(tmp_path: Path) -> None:
    rows = rows_like({"tokens": ["a", "b"], "tags": ["NOUN", "VERB"]})
    with pytest.raises(TaskError, match="'span_f1' is unknown for token-classification; .* token_accuracy"):
        task_of(tmp_path, rows, metric="span_f1")


def test_the_f1_of_a_label_can_be_the_metric(tmp_path: Path) -> None:
    rows = rows_like(*({"text": "a", "label": label} for label in ("ham", "ham", "spam")), count=60)
    task = task_of(tmp_path, rows, metric="f1:spam")
    logits = np.zeros((len(task.test), 2))  # always ham
    assert task.metrics(task.test, logits)["f1:spam"] == 0
    logits[task.test.labels == 1, 1] = 1
    assert task.metrics(task.test, logits)["f1:spam"] == 1
    predictions, labels = task.outcomes(task.test, np.stack([logits, -logits]))
    assert predictions.shape == (2, len(task.test)) and labels.shape == (len(task.test),)
