"""Each check on a dataset with one thing wrong, and on the same dataset without it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import WORDS, task_of_kind

from trainers.backbone import Backbone
from trainers.checks import Finding, Lengths, examine, token_lengths
from trainers.label_checks import normal_form, one_letter_apart
from trainers.splits import Split
from trainers.task import Task, read_task

SIZES = (80, 40, 40)


def split_of(texts: Sequence[str], labels: Sequence[int], pairs: Sequence[str] | None = None) -> Split:
    return Split(tuple(texts), None if pairs is None else tuple(pairs), np.array(labels, dtype=np.int64))


def make_task(labels: Sequence[str] = ("no", "yes"), metric: str = "accuracy", **splits: Split) -> Task:
    """A dataset with nothing wrong: random sentences, two labels in turn."""
    chance = np.random.default_rng(0)
    parts = {}
    for name, size in zip(("train", "validation", "test"), SIZES, strict=True):
        texts = [" ".join(chance.choice(WORDS, 12)) for _ in range(size)]
        parts[name] = split_of(texts, [row % len(labels) for row in range(size)])
    return Task(
        name="made",
        kind="classification",
        text="text",
        text_pair=None,
        label="label",
        labels=tuple(labels),
        metric=metric,
        **{**parts, **splits},
        origin=dict.fromkeys(parts, "given"),
        data_hash="0",
    )


def with_texts(task: Task, split: str, changes: dict[int, str]) -> Task:
    part: Split = getattr(task, split)
    texts = [changes.get(row, text) for row, text in enumerate(part.texts)]
    return replace(task, **{split: replace(part, texts=tuple(texts))})


def with_labels(task: Task, split: str, labels: Sequence[int]) -> Task:
    part: Split = getattr(task, split)
    return replace(task, **{split: replace(part, labels=np.array(labels, dtype=np.int64))})


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_sound_dataset_has_no_finding() -> None:
    assert examine(make_task()) == ()


# -------------------------------------------------------------------------------- doubles


def test_texts_of_training_in_other_splits_are_counted_by_their_rows() -> None:
    task = make_task()
    stolen = {row: task.train.texts[2 * row].upper() for row in range(4)}
    task = with_labels(with_texts(task, "test", stolen), "test", [0] * 4 + [row % 2 for row in range(36)])
    finding = only(examine(task))
    assert (finding.check, finding.severity) == ("duplicates across splits", "warning")
    assert (finding.count, finding.share) == (4, 4 / 80)
    assert len(finding.examples) == 3 and "in train and test" in finding.examples[0]


def test_scores_on_mostly_known_texts_stop_a_study() -> None:
    task = make_task()
    finding = examine(replace(task, validation=task.train, test=task.train))[0]
    assert (finding.check, finding.severity, finding.share) == ("duplicates across splits", "error", 1.0)


def test_repeats_inside_a_split_are_advice_and_contradictions_name_both_labels() -> None:
    task = make_task()
    again = with_texts(task, "train", {2: task.train.texts[0]})
    assert only(examine(again)).check == "duplicates inside a split"
    contradicted = with_texts(task, "train", {1: task.train.texts[0]})
    finding = next(f for f in examine(contradicted) if f.check == "same text, different labels")
    assert (finding.count, finding.severity) == (2, "warning")
    assert finding.examples[0].endswith("is 'no' and 'yes'")


def test_texts_that_do_not_decide_the_label_stop_a_study() -> None:
    task = make_task()
    undecided = with_texts(task, "train", {row: task.train.texts[row // 2] for row in range(80)})
    undecided = replace(undecided, validation=undecided.train, test=undecided.train)
    severities = {finding.check: finding.severity for finding in examine(undecided)}
    assert severities["same text, different labels"] == "error"


def test_nearly_equal_texts_across_and_inside_splits_are_told_with_both() -> None:
    task = make_task()
    train, test = task.train.texts, task.test.texts
    near = with_texts(
        task, "test", {0: train[0] + "!", 2: train[2] + "..", 4: train[4] + " ?", 6: test[8] + "!"}
    )
    near = with_texts(near, "validation", {0: train[6] + "!"})
    across, inside = examine(near)
    assert (across.check, across.severity, across.count) == ("near duplicates across splits", "warning", 4)
    assert inside.check == "near duplicates inside a split" and inside.count == 1
    assert all(" and " in example for example in across.examples)


# --------------------------------------------------------------------------------- labels


def test_one_label_in_two_spellings_is_found() -> None:
    labels = ("Card Lost", "card_lost", "card\u200blost", "refund")
    finding = next(f for f in examine(make_task(labels)) if f.check == "label typos")
    assert (finding.severity, finding.count) == ("warning", 3)
    assert finding.examples == ("'Card Lost' (40 rows) and 'card_lost' (40 rows) and 'card?lost' (40 rows)",)


def test_a_rare_label_one_letter_from_a_frequent_one_is_a_typo_and_two_frequent_ones_are_not() -> None:
    labels = ("refund", "refunt", "shipping")
    task = make_task(labels)
    assert not [f for f in examine(task) if f.check == "label typos"]
    rare = with_labels(task, "train", [1, *([0, 2] * 40)][:80])
    rare = with_labels(with_labels(rare, "validation", [0, 2] * 20), "test", [0, 2] * 20)
    finding = next(f for f in examine(rare) if f.check == "label typos")
    assert finding.severity == "advice" and "'refunt' (1 row)" in finding.examples[0]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Card Lost", " card-lost", True),
        ("a-", "a", False),
        ("-1", "1", False),
        ("C++", "C", False),
        ("ﬁx", "fix", True),
    ],
)
def test_spellings_of_one_label(a: str, b: str, same: bool) -> None:
    assert (normal_form(a) == normal_form(b)) == same


def test_one_letter_apart_agrees_with_a_plain_edit_distance() -> None:
    def distance(a: str, b: str) -> int:
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            last, row[0] = row[0], i
            for j, y in enumerate(b, 1):
                last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
        return row[-1]

    chance = np.random.default_rng(0)
    labels = sorted({"".join(chance.choice(list("abc"), chance.integers(4, 7))) for _ in range(150)})
    expected = [
        (i, j)
        for i in range(len(labels))
        for j in range(i + 1, len(labels))
        if distance(labels[i], labels[j]) == 1
    ]
    assert expected and one_letter_apart(labels) == expected
    assert one_letter_apart(["class1", "class2", "1.25", "1.26", "cat", "car"]) == []


def test_accuracy_on_one_dominant_label_is_doubted_and_macro_f1_is_not() -> None:
    labels = [0] * 68 + [1] * 12
    task = with_labels(make_task(), "train", labels)
    finding = only(examine(task))
    assert (finding.check, finding.severity, finding.share) == ("class balance", "warning", 68 / 80)
    assert "--metric macro_f1" in finding.advice
    assert examine(replace(task, metric="macro_f1")) == ()


def test_rare_labels_and_labels_that_no_score_speaks_of_are_named() -> None:
    task = make_task(("a", "b", "c"))
    task = with_labels(task, "train", [0, 1] * 38 + [2] * 4)
    task = with_labels(task, "test", [0, 1] * 20)
    told = [f.what for f in examine(task) if f.check == "rare classes"]
    assert told == ["1 of 3 labels have fewer than 8 training rows", "1 of 3 labels have no test row"]
    empty = with_labels(task, "train", [0, 1] * 40)
    assert next(f for f in examine(empty) if f.check == "rare classes").severity == "error"


def test_a_tag_or_one_of_several_labels_without_training_rows_stops_nothing() -> None:
    for kind in ("multi-label", "token-classification"):
        task = task_of_kind(kind, 40, 20, 20)
        first_two = np.array([1, 1, 0], np.float32) * task.train.labels if kind == "multi-label" else None
        labels = np.minimum(task.train.labels, 1) if first_two is None else first_two
        found = examine(replace(task, train=replace(task.train, labels=labels)))
        severities = [f.severity for f in found if f.what == "1 of 3 labels have no training row"]
        assert severities == ["warning"], kind


def test_too_few_rows_to_train_on_or_to_score_stop_a_study() -> None:
    task = make_task()
    few = task.train.take(np.arange(3))
    assert "at least 4 are needed" in examine(replace(task, train=few))[0].what
    scored = examine(replace(task, test=task.test.take(np.arange(4))))
    assert (scored[0].severity, scored[0].check) == ("error", "too few rows")
    assert only(examine(replace(task, test=task.test.take(np.arange(20))))).severity == "warning"


# ---------------------------------------------------------------------------------- texts


def test_texts_that_show_nothing_are_blank() -> None:
    task = with_texts(make_task(), "validation", {0: " \t", 1: "\u200b\u2060", 2: "\u00a0"})
    finding = next(f for f in examine(task) if f.check == "empty texts")
    assert (finding.severity, finding.count) == ("warning", 3)
    assert finding.examples == ("row 1 of validation", "row 2 of validation", "row 3 of validation")


def test_a_constant_text_stops_a_study_and_a_constant_other_column_is_advice() -> None:
    task = make_task()
    same = replace(task, train=replace(task.train, texts=("same",) * 80))
    severities = {finding.check: finding.severity for finding in examine(same)}
    assert severities["constant columns"] == "error"
    table = {"label": ["no", "yes"] * 40, "language": ["en"] * 80, "id": list(range(80))}
    finding = only(examine(task, table=table))
    assert (finding.severity, finding.examples) == ("advice", ("'language' is always 'en'",))


def test_constant_second_text_of_a_pair_is_a_warning() -> None:
    task = make_task()
    splits = {
        name: replace(getattr(task, name), pairs=("why",) * size)
        for name, size in zip(("train", "validation", "test"), SIZES, strict=True)
    }
    paired = replace(task, kind="pair-classification", text_pair="question", **splits)
    finding = only(examine(paired))
    assert (finding.check, finding.severity) == ("constant columns", "warning")


def test_cut_texts_are_counted_with_the_lengths(backbone: Backbone) -> None:
    task = make_task()
    lengths = token_lengths(task, backbone.tokenizer, 14)
    assert lengths.tokens.tolist() == [14] * 160  # 12 words, and two special tokens
    assert examine(task, lengths=lengths) == ()
    longer = with_texts(task, "test", {0: task.test.texts[0] + " good"})
    finding = only(examine(longer, lengths=token_lengths(longer, backbone.tokenizer, 14)))
    assert (finding.check, finding.severity, finding.count) == ("truncation", "advice", 1)
    assert "the longest 15; the backbone reads 14" in finding.what
    assert finding.examples[0].endswith("(15 tokens)")


def test_of_a_large_dataset_evenly_spread_rows_are_measured(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.checks.MOST_MEASURED", 16)
    lengths = token_lengths(make_task(), backbone.tokenizer, 14)
    assert lengths.rows[0] == 0 and lengths.rows[-1] == 159 and len(lengths.rows) == len(lengths.tokens) == 16


# -------------------------------------------------------------------------------- leakage


def test_a_word_that_stands_for_a_label_is_told() -> None:
    task = make_task()
    marked = {row: "positive: " + text for row, text in enumerate(task.train.texts) if row % 2}
    finding = only(examine(with_texts(task, "train", marked)))
    assert (finding.check, finding.severity) == ("leakage in the text", "warning")
    assert finding.examples[0].startswith("'positive' stands in 100 % of 'yes'")


def test_where_one_label_is_nearly_all_its_frequent_words_tell_nothing() -> None:
    task = with_labels(make_task(metric="macro_f1"), "train", [0] * 79 + [1])
    common = {row: "common " + text for row, text in enumerate(task.train.texts)}
    task = with_texts(task, "train", common)
    assert not [f for f in examine(task) if f.check == "leakage in the text"]


def test_a_column_that_decides_the_label_is_told_and_an_id_is_not() -> None:
    table = {
        "label": ["no", "yes"] * 40,
        "code": [0, 1] * 40,
        "id": [f"row-{i}" for i in range(80)],
        "fold": [i // 20 for i in range(80)],
    }
    finding = only(examine(make_task(), table=table))
    assert (finding.check, finding.severity, finding.count) == ("leakage in a column", "advice", 1)
    assert finding.examples == ("'code' tells the label of 100 % of the rows",)


def test_findings_are_values_of_json_and_safe_to_print() -> None:
    task = with_texts(
        make_task(), "train", {0: "\x1b[31mred\u202e", 2: "\x1b[31mred\u202e", 4: "x" * 500, 6: "x" * 500}
    )
    findings = examine(task)
    assert findings
    assert json.loads(json.dumps([finding.to_json() for finding in findings]))
    for finding in findings:
        lines = (finding.what, finding.advice, *finding.examples)
        assert all(line.isprintable() and len(line) < 400 for line in lines)


def test_lengths_are_told_in_one_line() -> None:
    lengths = Lengths(rows=np.arange(100), tokens=np.arange(1, 101), limit=64)
    assert lengths.summary() == (
        "half of the texts have up to 51 tokens, 95 % up to 96, the longest 100; the backbone reads 64"
    )


# ------------------------------------------------------------------------------- any kind


def rows_of_kind(kind: str, row: int, words: list[str]) -> dict[str, object]:
    """One row: its words, and the label that this kind of task has."""
    if kind == "regression":
        return {"text": " ".join(words), "label": row % 50 / 10}
    if kind == "multi-label":
        return {"text": " ".join(words), "labels": ["joy", "fear", "rage"][: row % 3 + 1]}
    return {"tokens": words, "tags": ["NOUN" if len(word) > 3 else "VERB" for word in words]}


@pytest.mark.parametrize("kind", ["regression", "multi-label", "token-classification"])
def test_every_kind_of_task_is_examined(kind: str, backbone: Backbone, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = [rows_of_kind(kind, row, chance.choice(WORDS, 12).tolist()) for row in range(200)]
    (tmp_path / "sound.jsonl").write_text("\n".join(map(json.dumps, rows)))
    label = next(name for name in rows[0] if name not in ("text", "tokens"))
    other = {**rows[0], label: rows[1][label] if kind == "multi-label" else rows[30][label]}
    (tmp_path / "again.jsonl").write_text("\n".join(map(json.dumps, [*rows, other])))
    sound = read_task(tmp_path / "sound.jsonl")
    assert sound.kind == kind
    assert examine(sound, lengths=token_lengths(sound, backbone.tokenizer, 14)) == ()
    checks = {finding.check for finding in examine(read_task(tmp_path / "again.jsonl"))}
    assert checks == {"duplicates inside a split", "same text, different labels"}
