"""`peltier check`, and what the checks mean for a search."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import Shell
from tiny import WORDS

from storage.database import open_database


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


@pytest.fixture
def shell(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """`peltier` in a folder with a sound dataset, a doubtful one, and one that answers nothing."""
    shutil.copytree(tiny_folder, tmp_path / "bert")
    chance = np.random.default_rng(0)
    rows = [(" ".join(chance.choice(WORDS, 12)), ("no", "yes")[row % 2]) for row in range(200)]
    write(tmp_path / "sound.csv", rows)
    write(tmp_path / "doubtful.csv", [*rows, *rows[:5]])
    write(tmp_path / "useless.csv", rows[:8])
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def test_a_sound_dataset_ends_with_status_0_and_says_what_was_understood(shell: Shell) -> None:
    said = shell("check", "sound.csv", "--backbone", "bert")
    assert said.status == 0, said.err
    assert (
        "sound: classification of column text into 2 labels of column label, scored by accuracy" in said.out
    )
    assert "rows: 160 train" in said.out and "40 test (made: 20 % of sound.csv" in said.out
    assert "160 validation (the training rows, out of fold: 5 folds, stratified, grouped by" in said.out
    assert "tokens: half of the texts have up to 14 tokens" in said.out
    assert "0 errors, 0 warnings, 0 pieces of advice" in said.out


def test_labels_in_columns_of_their_own_can_be_named(shell: Shell) -> None:
    chance = np.random.default_rng(0)
    rows = [f"{' '.join(chance.choice(WORDS, 12))},note,{row % 2},{row % 3 % 2}" for row in range(200)]
    Path("flags.csv").write_text("\n".join(["text,note,mild,hot", *rows]))
    assert "cannot tell the columns" in shell("check", "flags.csv", "--backbone", "bert").err
    said = shell("check", "flags.csv", "--backbone", "bert", "--label", "mild,hot")
    assert "multi-label of column text into 2 labels of columns mild, hot, scored by micro_f1" in said.out


def test_numbers_in_place_of_texts_stop_a_study(shell: Shell) -> None:
    Path("ages.csv").write_text("age,label\n" + "".join(f"{row},{'xy'[row % 2]}\n" for row in range(200)))
    assert shell("check", "ages.csv", "--backbone", "bert").status == 1
    said = shell("search", "ages.csv", "--backbone", "bert", "--trials", "1", "--epochs", "1")
    assert said.status == 2 and "no texts: 200 of 200 values" in said.err and "--text" in said.err


def test_what_is_wrong_stands_in_a_table_with_what_to_do(shell: Shell) -> None:
    said = shell("check", "doubtful.csv", "--backbone", "bert")
    assert said.status == 0
    assert "duplicates inside a split" in said.out and "to do: drop the repeats" in said.out
    assert "0 errors, 0 warnings, 1 piece of advice" in said.out


def test_an_error_ends_with_status_1_and_a_mistake_with_2(shell: Shell) -> None:
    said = shell("check", "useless.csv", "--backbone", "bert")
    assert said.status == 1 and "too few rows" in said.out
    said = shell("check", "nothere.csv", "--backbone", "bert")
    assert (said.status, said.out) == (2, "") and said.err.count("\n") == 1


def test_json_holds_the_task_and_every_finding(shell: Shell) -> None:
    found = json.loads(shell("check", "useless.csv", "--backbone", "bert", "--folds", "1", "--json").out)
    assert found["rows"] == {"train": 5, "validation": 1, "test": 2}
    first = found["findings"][0]
    assert first.keys() == {"check", "severity", "what", "count", "share", "examples", "advice"}
    assert (first["check"], first["severity"]) == ("too few rows", "error")


def test_check_reads_the_files_and_columns_that_a_search_would(shell: Shell) -> None:
    options = "--validation sound.csv --test sound.csv --text label --label text --backbone bert".split()
    said = shell("check", "sound.csv", *options)
    assert said.status == 2 and "200 different labels in 200 rows" in said.err
    said = shell(
        "check", "sound.csv", "--validation", "sound.csv", "--test", "sound.csv", "--backbone", "bert"
    )
    assert said.status == 1 and "duplicates across splits" in said.out


@pytest.mark.parametrize("command", ["search", "submit"])
def test_a_study_that_answers_nothing_is_refused_on_one_line(
    command: str, shell: Shell, tmp_path: Path
) -> None:
    said = shell(command, "useless.csv", "--backbone", "bert", "--folds", "1")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("peltier: useless.csv would make a study that answers nothing: too few rows: ")
    assert "(1 more: peltier check useless.csv)" in said.err
    assert said.err.endswith("pass --force\n") and said.err.count("\n") == 1
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("peltier.")]


def test_force_queues_it_with_its_findings_told_and_kept(shell: Shell) -> None:
    said = shell("submit", "useless.csv", "--backbone", "bert", "--folds", "1", "--force")
    assert said.status == 0
    assert said.err.splitlines()[0].startswith("error: too few rows: validation has 1 row,")
    kept = open_database("sqlite:///peltier.db").find_study("useless-1").task["findings"]
    assert [finding["severity"] for finding in kept][:2] == ["error", "error"]
    assert len(kept) == len(said.err.splitlines())


def test_check_reads_no_weights_and_a_search_finds_broken_ones(shell: Shell, tmp_path: Path) -> None:
    weights = tmp_path / "bert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    said = shell("check", "sound.csv", "--backbone", "bert")
    assert said.status == 0, said.err
    for command in ("search", "submit"):
        said = shell(command, "sound.csv", "--backbone", "bert")
        assert said.status == 2 and "weights that cannot be loaded" in said.err
