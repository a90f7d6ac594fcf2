"""A file of any kind, and nothing but its name: checked, searched, recommended, exported, predicted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from commands import Shell
from kinds import KIND_OF, rows_of, write_file

from trainers.metrics import METRICS_OF, range_of

SAYS = {
    "classification": {"label", "probabilities"},
    "pair-classification": {"label", "probabilities"},
    "multi-label": {"labels", "probabilities"},
    "regression": {"value"},
    "pair-regression": {"value"},
    "token-classification": {"words", "tags"},
}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


@pytest.mark.parametrize("file", KIND_OF)
def test_check_finds_kind_and_metric_by_itself(
    file: str, shell: Shell, tmp_path: Path, tiny_folder: Path
) -> None:
    said = shell("check", str(write_file(tmp_path, file)), "--backbone", str(tiny_folder), "--json")
    found = json.loads(said.out)
    assert (found["kind"], found["metric"]) == KIND_OF[file]
    assert said.status == 0, found["findings"]


@pytest.mark.parametrize("file", KIND_OF)
def test_search_exports_what_predicts_the_kind(
    file: str, shell: Shell, tmp_path: Path, tiny_folder: Path
) -> None:
    kind, metric = KIND_OF[file]
    path = str(write_file(tmp_path, file))
    options = "--trials 3 --epochs 2 --seeds 2 --folds 1 --methods lora,bitfit --runner local --json".split()
    study = told(shell("search", path, "--backbone", str(tiny_folder), *options))
    assert (study["task"]["kind"], study["task"]["metric"]) == (kind, metric)
    assert [baseline["name"] for baseline in study["baselines"]][-2:] == ["linear_probe", "full"]
    low, high = range_of(metric)
    for scored in study["recommendation"]["compared"]:
        for split in ("validation", "test"):
            found = scored[split]
            assert low <= found["low"] <= found["mean"] <= found["high"] <= high, (scored, split)
    assert f"reaches {metric}" in study["recommendation"]["reason"]

    trial = str(study["finalists"][0]["repeats"])
    exported = told(shell("export", study["study"], "module", "--trial", trial, "--json"))
    assert math.isfinite(exported["difference"])
    rows = shell("predict", "module", path).out.splitlines()
    assert [set(json.loads(row)) for row in rows] == [SAYS[kind]] * len(rows_of(file))


def told(said: Any) -> dict[str, Any]:
    assert said.status == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


@pytest.mark.parametrize(
    ("file", "metric"), [("topics.jsonl", "f1:film"), ("reviews.csv", "auroc"), ("stars.csv", "r2")]
)
def test_another_metric_of_the_kind_is_chosen_by(
    file: str, metric: str, shell: Shell, tmp_path: Path, tiny_folder: Path
) -> None:
    path = str(write_file(tmp_path, file))
    options = "--trials 1 --epochs 1 --seeds 1 --folds 1 --methods bitfit --runner local --json".split()
    study = told(shell("search", path, "--backbone", str(tiny_folder), "--metric", metric, *options))
    assert study["task"]["metric"] == metric
    assert all(math.isfinite(baseline["validation"]) for baseline in study["baselines"])


def test_a_metric_of_another_kind_is_refused(shell: Shell, tmp_path: Path, tiny_folder: Path) -> None:
    path = str(write_file(tmp_path, "parts.jsonl"))
    said = shell("check", path, "--backbone", str(tiny_folder), "--metric", "pearson")
    assert said.status == 2
    assert "unknown for token-classification; choose --metric from token_accuracy" in said.err
    assert "rmse" in METRICS_OF["regression"]
    path = str(write_file(tmp_path, "stars.csv"))
    said = shell("check", path, "--backbone", str(tiny_folder), "--metric", "rmse")
    assert said.status == 2 and "choose r2, which ranks candidates alike" in said.err
