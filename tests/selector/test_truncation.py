"""`--truncation`: from the request to the workers, the export and its predictions."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from commands import Shell
from tiny import WORDS

from selector.options import Truncation
from selector.study import TRUNCATIONS, DataFile, RequestError, StudySpec
from storage.database import open_database
from trainers.truncation import STRATEGIES

SEARCH = "--backbone bert --methods bitfit --trials 1 --epochs 1 --seeds 1 --runner local --json".split()


@pytest.fixture
def shell(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """`peltier` in a folder with long texts and with words."""
    shutil.copytree(tiny_folder, tmp_path / "bert")
    chance = np.random.default_rng(0)
    rows = [(" ".join(chance.choice(WORDS, 100)), ("no", "yes")[row % 2]) for row in range(80)]
    with (tmp_path / "long.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    words = [{"tokens": text.split()[:5], "tags": ["a", "b"] * 2 + ["a"]} for text, _ in rows]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in words))
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def test_the_possible_strategies_are_the_same_everywhere() -> None:
    assert get_args(get_args(Truncation)[0]) == TRUNCATIONS == STRATEGIES


def test_the_export_of_a_search_cuts_as_the_search_did(shell: Shell, tmp_path: Path) -> None:
    said = shell("search", "long.csv", "--truncation", "head+tail", *SEARCH)
    assert said.status == 0, said.err
    study = open_database("sqlite:///peltier.db").find_study("long-1")
    assert study.spec["truncation"] == "head+tail"
    said = shell("export", "1", "module", "--trial", "0", "--json")
    assert json.loads(said.out)["difference"] <= 1e-4  # of the logits that the worker trained to
    manifest = json.loads((tmp_path / "module" / "peltier.json").read_text())
    assert (manifest["truncation"], manifest["max_length"]) == ("head+tail", 64)
    assert len(shell("predict", "module", "long.csv").out.splitlines()) == 80


def test_a_study_from_before_there_was_a_choice_keeps_the_head() -> None:
    spec = StudySpec(train=DataFile(name="long.csv"), backbone="bert")
    stored = spec.to_json()
    assert stored.pop("truncation") == "head"
    assert StudySpec.from_json(stored) == spec


def test_an_unknown_strategy_is_refused(shell: Shell) -> None:
    with pytest.raises(RequestError, match=r"truncation 'tail' is unknown; possible: head, head\+tail"):
        StudySpec(train=DataFile(name="long.csv"), backbone="bert", truncation="tail")
    said = shell("submit", "long.csv", "--backbone", "bert", "--truncation", "tail")
    assert said.status == 2 and "head+tail" in said.err


def test_where_words_are_tagged_nothing_is_cut_and_the_choice_is_refused(shell: Shell) -> None:
    said = shell("submit", "words.jsonl", "--backbone", "bert", "--truncation", "head+tail")
    assert (said.status, said.out) == (2, "")
    assert "a task of token-classification cuts none" in said.err and said.err.count("\n") == 1
    assert shell("submit", "words.jsonl", "--backbone", "bert").status == 0


def test_check_names_the_option_where_texts_are_cut(shell: Shell) -> None:
    found = json.loads(shell("check", "long.csv", "--backbone", "bert", "--json").out)["findings"]
    (cut,) = [one for one in found if one["check"] == "truncation"]
    assert cut["share"] == 1.0 and "--truncation head+tail" in cut["advice"]
