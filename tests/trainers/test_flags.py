"""Labels that have a column each: found, named, read, and refused where a cell says neither yes nor no."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from trainers.checks import examine
from trainers.columns import choose_columns
from trainers.flags import as_option, named_columns
from trainers.reading import columns_of, read_columns
from trainers.source import open_source
from trainers.task import Task, TaskError, read_task

# as in the toxic comments of Jigsaw: some rows have several labels, most have none
SETS = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 0), (1, 0, 1)]
NAMES = ("toxic", "obscene", "threat")


def frame(
    text: str = "text", count: int = 40, values: tuple[Any, Any] = (0, 1), **more: Any
) -> pandas.DataFrame:
    flags = {name: [values[SETS[row % 5][i]] for row in range(count)] for i, name in enumerate(NAMES)}
    return pandas.DataFrame({text: [f"comment {row}" for row in range(count)], **more, **flags})


def given(**options: Any) -> dict[str, Any]:
    return {"text": None, "text_pair": None, "label": None, "kind": None, **options}


def sets_of(task: Task) -> dict[str, list[int]]:
    return {
        text: labels.astype(int).tolist()
        for split in (task.train, task.validation, task.test)
        for text, labels in zip(split.texts, split.labels, strict=True)
    }


EXPECTED = {f"comment {row}": list(SETS[row % 5]) for row in range(40)}


@pytest.mark.parametrize(
    "values", [(0, 1), (0.0, 1.0), (False, True), ("0", "1"), ("FALSE", "TRUE"), ("0.0", "1.0")]
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "frame"])
def test_a_column_of_zeros_and_ones_for_each_label_is_found(
    form: str, values: tuple[Any, Any], tmp_path: Path
) -> None:
    rows = frame(values=values)
    path = tmp_path / f"rows.{form}"
    writers = {
        "csv": lambda: rows.to_csv(path, index=False),
        "jsonl": lambda: rows.to_json(path, orient="records", lines=True),
        "parquet": lambda: rows.to_parquet(path),
    }
    if form in writers:
        writers[form]()
    task = read_task(rows if form == "frame" else path)
    assert (task.kind, task.metric, task.labels) == ("multi-label", "micro_f1", NAMES)
    assert (task.text, task.label, task.columns) == ("text", "toxic,obscene,threat", ("text", *NAMES))
    assert sets_of(task) == EXPECTED


def test_it_is_the_task_of_the_same_labels_in_lists() -> None:
    rows = frame()
    lists = [[name for name, flag in zip(NAMES, SETS[row % 5], strict=True) if flag] for row in range(40)]
    joined = pandas.DataFrame({"text": rows["text"], "labels": lists})
    order = sorted(NAMES)  # labels in lists have no order of their own
    assert read_task(rows[["text", *order]]).data_hash == read_task(joined).data_hash


def test_a_number_of_the_row_and_an_unknown_name_of_the_text_do_not_matter() -> None:
    task = read_task(frame(text="comment_text", id=range(40)))
    assert (task.kind, task.text, task.labels) == ("multi-label", "comment_text", NAMES)


@pytest.mark.parametrize(
    ("names", "flags", "options", "expected"),
    [
        ("text,a,b,label", "a,b", {}, "classification label"),  # a label by its name comes first
        ("text,a", "a", {}, "classification a"),
        ("text,a,b", "a,b", {"kind": "multi-label"}, "multi-label a,b"),
        ("text,a,b", "a,b", {"label": "b"}, "classification b"),
        ("text,a,b,c", "a,b", {"label": "c,a"}, "multi-label c,a"),
        ("text,a,c", "", {"label": "a,c"}, "multi-label a,c"),
        ('text,"a,b",c', "", {"label": "a,b"}, "classification a,b"),
        ('text,"a,b",c', "", {"label": '"a,b",c'}, 'multi-label "a,b",c'),
        ("other,note,a,b", "a,b", {"text": "note", "label": "a,b"}, "multi-label a,b"),
    ],
)
def test_names_win_over_what_columns_hold(
    names: str, flags: str, options: dict[str, str], expected: str
) -> None:
    columns = named_columns(names, [])
    chosen = choose_columns("f", columns, **given(**options), flags=flags.split(","))
    assert f"{chosen.kind} {chosen.label}" == expected
    assert chosen.flags == (
        tuple(named_columns(chosen.label, columns)) if chosen.kind == "multi-label" else ()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "a,zz"}, "no column 'zz'; it has 'text', 'note', 'a', 'b'"),
        ({"label": "a,b,a"}, "names a column of f twice"),
        ({"label": "a,text", "text": "text"}, "'text' of f is given twice"),
        ({"label": "a,b", "kind": "classification"}, "--task classification does not suit; leave it out"),
        ({"label": "a,b", "text": "text", "text_pair": "note"}, "--text-pair 'note' does not suit"),
        ({}, "cannot tell the columns of f apart"),  # the note may be read, or be a label
        ({"kind": "classification"}, "cannot tell the columns of f apart"),
    ],
)
def test_what_contradicts_or_is_unclear_is_told(options: dict[str, str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        choose_columns("f", ["text", "note", "a", "b"], **given(**options), flags=("a", "b"))


@pytest.mark.parametrize(
    ("cell", "message"), [(None, "holds nothing in column 'obscene'"), (2, "holds '2' in column 'obscene'")]
)
def test_a_cell_that_says_neither_is_named(cell: object, message: str, tmp_path: Path) -> None:
    rows = [*frame(count=2000).to_dict("records"), {"text": "late", "toxic": 1, "obscene": cell, "threat": 0}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(
        TaskError, match=rf"row 2001 of .*rows.jsonl {message} \(1 of 2,001 rows.*write 1 or 0"
    ):
        read_task(tmp_path / "rows.jsonl")


def test_a_test_split_of_unknown_labels_is_made_from_the_training_rows() -> None:
    secret = frame().assign(**dict.fromkeys(NAMES, -1))
    datasets = pytest.importorskip("datasets")
    held = {"train": datasets.Dataset.from_pandas(frame()), "test": datasets.Dataset.from_pandas(secret)}
    assert "has no labels" in read_task(datasets.DatasetDict(held)).origin["test"]


def test_the_columns_of_the_labels_are_no_other_columns(tmp_path: Path) -> None:
    rows = frame().assign(threat=0)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    source = open_source(tmp_path / "rows.csv")
    table = read_columns(source, [name for name in columns_of(source) if name != "text"])
    found = examine(read_task(tmp_path / "rows.csv"), table=table)
    assert not {"constant columns", "leakage in a column"} & {finding.check for finding in found}
    assert any(finding.check == "rare classes" and "'threat'" in finding.examples[0] for finding in found)


def test_an_option_of_columns_is_read_back() -> None:
    names = ["a,b", 'say "yes"', "plain", " x "]
    assert named_columns(as_option(names), []) == ["a,b", 'say "yes"', "plain", "x"]
