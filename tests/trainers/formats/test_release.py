"""A module leaves Peltier only after a fresh process has loaded it and given the trained logits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny import CLASSES, away_from_its_start, task_of_kind

import trainers.formats as formats
from trainers.backbone import Backbone
from trainers.export import Exported, ExportError, Module, exported, load_export
from trainers.export_folder import check_files, read_manifest
from trainers.formats.release import release
from trainers.method import METHODS
from trainers.task import Task

BIASES = """
import json, sys
import numpy as np
rows = json.load(open(sys.argv[2], encoding="utf-8"))
kept = json.load(open(sys.argv[1] + "/sizes.json", encoding="utf-8"))
def logits(texts, pairs):
    return np.array([[len(text) + bias for bias in kept] for text in texts], np.float32)
np.save(sys.argv[3], logits(rows["texts"], rows["pairs"]))
"""
"""Loads what `FakeFormat` writes, without Peltier."""


def fake_format(check: str = BIASES, why: str | None = None) -> SimpleNamespace:
    """A format of one file, for a model that is the length of the text plus a number for each label."""

    def write(folder: Path, export: Exported) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "more.txt").write_text("more")
        (folder / "sizes.json").write_text(json.dumps(list(range(export.stack.classes))))

    return SimpleNamespace(NAME="fake", TOLERANCE=1e-4, CHECK=check, refusal=lambda export: why, write=write)


@pytest.fixture
def task() -> Task:
    return task_of_kind("classification", 6, 8, 6)


@pytest.fixture
def export(backbone: Backbone, task: Task) -> Exported:
    stack, state = away_from_its_start(backbone, METHODS["lora"]())
    return exported(Module(stack.candidates[0].config, 0, state), backbone, task, 32, "head")


def sizes(task: Task) -> Any:
    return np.array([[len(text) + i for i in range(CLASSES)] for text in task.validation.texts], np.float32)


def install(monkeypatch: pytest.MonkeyPatch, format: SimpleNamespace) -> None:
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, "fake"))
    monkeypatch.setitem(sys.modules, "trainers.formats.fake", format)  # type: ignore[misc]


def test_native_release_is_reloaded_in_a_fresh_process_and_measured(
    export: Exported, task: Task, tmp_path: Path
) -> None:
    expected = export.logits(task.validation)
    difference = release(tmp_path / "out", export, task, expected, {"study": "films-1"}, format="native")
    manifest = load_export(tmp_path / "out").manifest
    assert manifest["parity"]["largest_difference"] == difference <= 1e-6
    assert manifest["parity"]["process"] == "fresh" and manifest["parity"]["same_label"] == 1.0
    assert manifest["parity"]["rows"] == 8 and manifest["parity"]["tolerance"] == 1e-4
    assert manifest["latency"].keys() == {"ms", "batch_ms", "batch", "device", "from"}
    assert 0 < manifest["latency"]["ms"] and manifest["latency"]["batch"] == 32
    size = (tmp_path / "out" / "module.safetensors").stat().st_size
    assert manifest["size_bytes"] == size == manifest["files"]["module.safetensors"]["bytes"]
    assert manifest["files"].keys() == {"module.safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_format_is_checked_by_its_own_program_and_sealed_with_hashes(
    export: Exported, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, fake_format())
    release(tmp_path / "out", export, task, sizes(task), {}, format="fake")
    manifest = read_manifest(tmp_path / "out")
    assert manifest["format"] == "fake" and manifest["parity"]["largest_difference"] == 0
    assert set(manifest["files"]) == {"sizes.json", "deep/more.txt"}
    assert manifest["latency"]["device"] == "cpu"
    check_files(tmp_path / "out", manifest)
    with pytest.raises(ExportError, match="is an export in format fake, for other tools"):
        load_export(tmp_path / "out")
    release(tmp_path / "out", export, task, sizes(task), {}, format="fake")  # its own files may be replaced
    (tmp_path / "out" / "deep" / "more.txt").write_text("less")
    with pytest.raises(ExportError, match=r"more.txt' was changed after the export \(its hash differs\)"):
        check_files(tmp_path / "out", manifest)


@pytest.mark.parametrize(
    ("check", "offset", "hint"),
    [
        (BIASES, 1.0, "differs from the trained one: largest logit difference 1.0"),
        (BIASES, np.nan, "differs from the trained one"),
        ("raise SystemExit('no such tensor')", 0.0, r"fresh process \(no such tensor\); nothing was written"),
        ("import nothing_of_that_name", 0.0, "No module named 'nothing_of_that_name'"),
        (BIASES.replace("for text in texts", "for text in texts[1:]"), 0.0, "gives 7 x 3 numbers, not 8 x 3"),
    ],
)
def test_nothing_is_released_unless_a_fresh_process_gives_the_trained_logits(
    check: str,
    offset: float,
    hint: str,
    export: Exported,
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, fake_format(check))
    with pytest.raises(ExportError, match=hint):
        release(tmp_path / "out", export, task, sizes(task) + offset, {}, format="fake")
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_cannot_represent_the_module_names_those_that_can(
    export: Exported, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, fake_format(why="fake has no place for a low-rank product."))
    with pytest.raises(ExportError, match="no place for a low-rank product; formats that can: native"):
        release(tmp_path / "out", export, task, sizes(task), {}, format="fake")
    with pytest.raises(ExportError, match="format 'gguf' is unknown; formats: native"):
        release(tmp_path / "out", export, task, sizes(task), {}, format="gguf")


def test_an_export_that_stood_there_stays_when_the_new_one_fails(
    export: Exported, task: Task, tmp_path: Path
) -> None:
    expected = export.logits(task.validation)
    release(tmp_path / "out", export, task, expected, {}, format="native")
    before = (tmp_path / "out" / "peltier.json").read_bytes()
    with pytest.raises(ExportError, match="differs"):
        release(tmp_path / "out", export, task, expected + 1, {}, format="native")
    assert (tmp_path / "out" / "peltier.json").read_bytes() == before


def test_words_and_pairs_and_numbers_reach_the_fresh_process(backbone: Backbone, tmp_path: Path) -> None:
    for kind in ("token-classification", "pair-regression"):
        task = task_of_kind(kind, 6, 8, 6)
        stack, state = away_from_its_start(backbone, METHODS["bitfit"]())
        if kind == "pair-regression":
            state |= {"head.weight": state["head.weight"][:1], "head.bias": state["head.bias"][:1]}
        export = exported(Module(stack.candidates[0].config, 0, state), backbone, task, 32, "head")
        found = release(tmp_path / kind, export, task, export.logits(task.validation), {}, format="native")
        assert found <= 1e-5


def test_a_graph_is_released_with_its_int8_variant_and_what_that_costs(
    export: Exported, task: Task, tmp_path: Path
) -> None:
    difference = release(tmp_path / "out", export, task, export.logits(task.validation), {}, format="onnx")
    assert difference <= 1e-4
    manifest = read_manifest(tmp_path / "out")
    assert {"model.onnx", "model.int8.onnx", "int8.json", "predict.py"} <= manifest["files"].keys()
    measured = json.loads((tmp_path / "out" / "int8.json").read_text())
    before, after = (measured[name]["metrics"]["accuracy"] for name in ("model.onnx", "model.int8.onnx"))
    assert measured["drop"]["accuracy"] == before - after
    found = export.logits(task.validation).argmax(1)
    assert before == pytest.approx(float((found == task.validation.labels).mean()))
