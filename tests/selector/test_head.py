"""`--head`: from the request to the workers, the leaderboard, the export and its predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from commands import Shell, write_rows
from safetensors.torch import load_file
from tiny import make_backbone

from selector.options import Head
from selector.study import HEADS, DataFile, RequestError, StudySpec
from storage.database import open_database
from trainers.backbone import load
from trainers.checkpoint import BackboneError
from trainers.export import load_export
from trainers.head import HEADS as KNOWN

SEARCH = "--methods bitfit --trials 1 --epochs 1 --seeds 1 --runner local --json".split()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """`peltier` in a folder with rows, words and backbones."""
    make_backbone(tmp_path / "roberta", "roberta")
    make_backbone(tmp_path / "t5", "t5")
    write_rows(tmp_path / "rows.csv", rows=60)
    words = [{"tokens": ["good", "film", str(row)], "tags": ["a", "b", "a"]} for row in range(60)]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in words))
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def test_the_possible_heads_are_the_same_everywhere() -> None:
    assert get_args(get_args(Head)[0]) == HEADS == KNOWN


def test_a_search_with_native_heads_counts_trains_and_exports_them(shell: Shell, tmp_path: Path) -> None:
    said = shell("search", "rows.csv", "--backbone", "roberta", "--head", "native", *SEARCH)
    assert said.status == 0, said.err
    found = json.loads(said.out)
    assert found["head"] == "native"
    outputs, width = len(found["task"]["labels"]), 32
    head = width * (width + 1) + outputs * (width + 1)
    (probe,) = [one for one in found["baselines"] if one["name"] == "linear_probe"]
    assert probe["trainable_parameters"] == head
    assert "head: native" in shell("show", "1").out
    said = shell("export", "1", "module", "--trial", "0", "--json")
    assert json.loads(said.out)["difference"] <= 1e-4
    stored = load_file(tmp_path / "module" / "module.safetensors")
    assert {"head.dense.weight", "head.dense.bias", "head.weight", "head.bias"} < stored.keys()
    manifest = json.loads((tmp_path / "module" / "peltier.json").read_text())
    assert (manifest["head"], manifest["pooling"]) == ("native", "first token")
    alone, given = load_export(tmp_path / "module"), load_export(tmp_path / "module", load("roberta"))
    rows = [list(export.predict(["good film", "a bad plot"])) for export in (alone, given)]
    assert rows[0] == rows[1]
    assert json.loads(shell("reproduce", "1", "0", "--json").out)["module_difference"] <= 1e-4


def test_a_study_or_an_export_from_before_there_was_a_choice_has_the_mean(
    shell: Shell, tmp_path: Path
) -> None:
    spec = StudySpec(train=DataFile(name="rows.csv"), backbone="roberta")
    stored = spec.to_json()
    assert stored.pop("head") == "mean"
    assert StudySpec.from_json(stored) == spec
    assert shell("search", "rows.csv", "--backbone", "roberta", *SEARCH).status == 0
    assert open_database("sqlite:///peltier.db").find_study("rows-1").spec["head"] == "mean"
    assert shell("export", "1", "module", "--trial", "0").status == 0
    path = tmp_path / "module" / "peltier.json"
    manifest = json.loads(path.read_text())
    assert manifest.pop("head") == "mean"
    before = list(load_export(path.parent).predict(["good film"]))
    path.write_text(json.dumps(manifest))
    assert list(load_export(path.parent).predict(["good film"])) == before


def test_what_has_no_native_head_is_refused_in_one_line(shell: Shell) -> None:
    said = shell("submit", "rows.csv", "--backbone", "t5", "--head", "native")
    assert (said.status, said.out) == (2, "")
    assert "use --head mean" in said.err and said.err.count("\n") == 1
    said = shell("submit", "words.jsonl", "--backbone", "roberta", "--head", "native")
    assert (said.status, said.out) == (2, "")
    assert "reads each word by itself" in said.err and said.err.count("\n") == 1
    with pytest.raises(RequestError, match="head 'last' is unknown; possible: mean, native"):
        StudySpec(train=DataFile(name="rows.csv"), backbone="bert", head="last")
    with pytest.raises(BackboneError, match="whose classifier in transformers is not known here"):
        load("t5", head="native")
