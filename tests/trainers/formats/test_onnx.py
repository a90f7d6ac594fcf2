"""An ONNX graph computes what the module does, for any number of texts of any length."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_backbone, task_of_kind

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx
import onnxruntime

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.export import Exported, ExportError, Module, load_export, write_export
from trainers.formats import onnx as graphs
from trainers.method import METHODS, MethodConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.onnx_int8 import add_int8
from trainers.stack import Candidate, Stack
from trainers.standalone.imported import imported
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import Logits, logits_of

ROOT = Path(__file__).parents[3]


def exported(
    folder: Path, family: str, config: MethodConfig, kind: str, **sizes: object
) -> tuple[Exported, Task, Logits]:
    """A native export of a candidate in which nothing is zero by chance, with its validation logits."""
    backbone: Backbone = load(str(make_backbone(folder / "backbone", family, **sizes)), dtype="fp32")
    task, generator = task_of_kind(kind, 8, 20, 8), torch.Generator().manual_seed(1)
    stack = Stack(backbone, [Candidate(config, 0)], task.outputs)
    (state,) = stack.states()
    state = {name: t + 0.1 * torch.randn(t.shape, generator=generator) for name, t in state.items()}
    stack = Stack(backbone, stack.candidates, task.outputs, [state])
    logits = logits_of(stack, tokenise(task.validation, backbone.tokenizer, 32))[0]
    write_export(folder / "native", Module(config, 0, state), backbone, task, 32, logits, {})
    return load_export(folder / "native", backbone), task, logits


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Task, Logits]:
    """A gated mixture of all letters as a graph, in its folder."""
    folder = tmp_path_factory.mktemp("mixture")
    export, task, logits = exported(
        folder, "bert", UniPELTConfig(modules="APL"), "pair-classification", num_hidden_layers=1
    )
    assert graphs.refusal(export) is None
    (folder / "graph").mkdir()
    graphs.write(folder / "graph", export)
    return folder / "graph", task, logits


def test_the_graph_in_a_fresh_process_gives_the_trained_logits(
    mixture: tuple[Path, Task, Logits], tmp_path: Path
) -> None:
    folder, task, logits = mixture
    rows = {"texts": task.validation.texts, "pairs": task.validation.pairs}
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    files = [str(folder), str(tmp_path / "rows.json"), str(tmp_path / "logits.npy")]
    run([sys.executable, "-I", "-c", graphs.CHECK, *files], check=True)
    found = np.load(tmp_path / "logits.npy")
    assert found.dtype == np.float32
    assert np.abs(found - logits).max() <= graphs.TOLERANCE


def test_batch_and_length_are_free_and_the_graph_needs_no_torch(mixture: tuple[Path, Task, Logits]) -> None:
    folder, _, _ = mixture
    graph = onnx.load(folder / "model.onnx")
    shapes = {each.name: [d.dim_param for d in each.type.tensor_type.shape.dim] for each in graph.graph.input}
    assert shapes.keys() == {"input_ids", "attention_mask", "token_type_ids"}
    assert all(names[0] and names[1] for names in shapes.values())
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(5, 30, (1, 11))
    real = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (alone,) = session.run(["logits"], real)
    # Padding and neighbours change nothing.
    padded = {name: np.pad(values, ((0, 4), (0, 6))) for name, values in real.items()}
    padded["attention_mask"][1:, 0] = 1
    (beside,) = session.run(["logits"], padded)
    assert beside.shape == (5, 3)
    assert np.allclose(beside[0], alone[0], atol=1e-5)


def test_the_file_beside_the_graph_is_formatted_and_reads_texts_only(
    mixture: tuple[Path, Task, Logits],
) -> None:
    folder, _, _ = mixture
    names = {path.name for path in folder.iterdir()}
    assert {"model.onnx", "predict.py", "module.json", "tokenizer.json"} <= names
    assert not names & {"model.safetensors", "module.safetensors", "config.json"}
    text = (folder / "predict.py").read_text()
    assert "InferenceSession" in text and "AutoModel" not in text and "DELTAS" not in text
    ruff, options = [sys.executable, "-m", "ruff"], ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for check in (["format", "--check"], ["check"]):
        assert run([*ruff, *check, "--quiet", *options, folder / "predict.py"]).returncode == 0


def test_int8_says_what_it_costs_and_saves(mixture: tuple[Path, Task, Logits]) -> None:
    folder, task, logits = mixture
    found = add_int8(folder, task)
    assert json.loads((folder / "int8.json").read_text()) == found
    whole, small = found["model.onnx"], found["model.int8.onnx"]
    assert whole["metrics"] == pytest.approx(dict(task.metrics(task.validation, logits)))
    for metric, drop in found["drop"].items():
        assert drop == whole["metrics"][metric] - small["metrics"][metric]
    assert (found["split"], found["rows"], found["batch"]) == ("validation", 20, 32)
    assert all(each[name] > 0 for each in (whole, small) for name in ("bytes", "ms", "batch_ms"))
    assert 0 < difference(folder, task) < 1  # rounded weights give other logits, but not wild ones


def difference(folder: Path, task: Task) -> float:
    """Between the logits of the two graphs, in deviations of the first."""
    rows = task.validation
    with imported(folder / "predict.py") as module:
        whole, small = (
            module.load(graph=graph).logits(rows.texts, rows.pairs)
            for graph in ("model.onnx", "model.int8.onnx")
        )
    return float((whole - small).abs().max() / whole.std())


def test_words_of_a_decoder_are_tagged_by_a_graph(tmp_path: Path) -> None:
    export, task, logits = exported(tmp_path, "gpt2", METHODS["lora"](), "token-classification", n_layer=1)
    (tmp_path / "graph").mkdir()
    graphs.write(tmp_path / "graph", export)
    (tmp_path / "rows.json").write_text(json.dumps({"texts": task.validation.texts, "pairs": None}))
    files = [str(tmp_path / "graph"), str(tmp_path / "rows.json"), str(tmp_path / "logits.npy")]
    run([sys.executable, "-I", "-c", graphs.CHECK, *files], check=True)
    assert np.abs(np.load(tmp_path / "logits.npy") - logits).max() <= graphs.TOLERANCE


def test_what_onnx_cannot_compute_is_refused_in_one_line(tmp_path: Path) -> None:
    export, _, _ = exported(tmp_path, "bert", METHODS["reft"](), "classification", num_hidden_layers=1)
    assert graphs.refusal(export) == "reft uses linear algebra for which ONNX has no operators"


def test_a_graph_that_computes_something_else_is_not_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, _, _ = exported(
        tmp_path, "bert", METHODS["linear_probe"](), "classification", num_hidden_layers=1
    )

    def other(path: Path, predictor: Any, names: tuple[str, ...]) -> None:
        write_graph(path, predictor, names)
        predictor.tensors["head.bias"] += 1

    write_graph = graphs._write_graph
    monkeypatch.setattr(graphs, "_write_graph", other)
    (tmp_path / "graph").mkdir()
    with pytest.raises(ExportError, match="the ONNX graph computes something else than the module"):
        graphs.write(tmp_path / "graph", export)
