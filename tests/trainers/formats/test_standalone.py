"""A standalone export predicts the same where there is neither Peltier nor peft, and reads well."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest
import torch
from bare_environment import bare_environment
from safetensors.torch import load_file
from tiny import SIZES, make_backbone, task_of_kind

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.bridge import bridged
from trainers.building import build_stack
from trainers.export import Exported, Module, load_export, write_export
from trainers.formats import standalone
from trainers.method import METHODS, MethodConfig
from trainers.methods.adapter import AdapterConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.stack import Candidate, Stack
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import Logits, logits_of

ROOT = Path(__file__).parents[3]
MIXTURE = UniPELTConfig(modules="APLI")


@dataclass(frozen=True)
class Case:
    """What is exported."""

    config: MethodConfig
    family: str = "bert"
    kind: str = "classification"
    truncation: str = "head"


CASES = {
    **{name: Case(config()) for name, config in METHODS.items()},
    "DoRA": Case(LoRAConfig(dora=True, targets="all linear")),
    "Houlsby": Case(AdapterConfig(placement="houlsby", activation="gelu")),
    "parallel adapter": Case(AdapterConfig(placement="parallel", activation="tanh")),
    "shifted prefix": Case(PrefixConfig(positions="shifted")),
    "all letters": Case(UniPELTConfig(modules="APLBI", pooling="first token")),
    "all tokens": Case(UniPELTConfig(modules="APL", pooling="all tokens", gates="AL"), "modernbert"),
    "top layer": Case(LoRAConfig(layers="top 1")),
    **{f"mixture on {family}": Case(MIXTURE, family) for family in SIZES},
    **{f"prompt on {family}": Case(METHODS["prompt"](), family) for family in ("roberta", "llama", "t5")},
    **{f"DoRA on {family}": Case(LoRAConfig(dora=True), family) for family in ("gpt2", "modernbert", "t5")},
    **{f"full on {family}": Case(METHODS["full"](), family) for family in ("albert", "t5", "deberta-v2")},
    **{
        f"{kind}, {truncation}": Case(MIXTURE, family, kind, truncation)
        for kind in ("classification", "pair-classification", "multi-label", "pair-regression")
        for truncation, family in (("head", "gpt2"), ("head+tail", "bert"))
    },
    "words": Case(MIXTURE, kind="token-classification"),
    "words of a decoder": Case(METHODS["prompt"](), "qwen2", "token-classification"),
}

PREDICTED = """
import importlib.util, json, sys
from pathlib import Path
import numpy

for name in ("peft", "peltier", "trainers"):
    assert importlib.util.find_spec(name) is None, name
root = Path(sys.argv[1])
for folder in sorted(root.iterdir()):
    given = json.loads((folder / "rows.json").read_text())
    sys.modules.pop("predict", None)
    sys.path.insert(0, str(folder / "module"))
    from predict import load
    sys.path.pop(0)
    predictor = load()
    numpy.save(folder / "logits.npy", predictor.logits(given["texts"], given["pairs"]).numpy())
    (folder / "predictions.json").write_text(json.dumps(predictor.predict(given["texts"], given["pairs"])))
"""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("bare") / "venv", "torch", "transformers", "safetensors")


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backbone]:
    folder = tmp_path_factory.mktemp("backbones")
    return {family: load(str(make_backbone(folder / family, family)), dtype="fp32") for family in SIZES}


def moved(config: MethodConfig, backbone: Backbone, task: Task) -> Stack:
    """A candidate in which nothing is zero by chance."""
    generator = torch.Generator().manual_seed(1)
    stack = Stack(backbone, [Candidate(config, 0)], task.outputs)
    (state,) = stack.states()
    state = {name: t + 0.1 * torch.randn(t.shape, generator=generator) for name, t in state.items()}
    return Stack(backbone, stack.candidates, task.outputs, [state])


def exported(folder: Path, case: Case, backbone: Backbone) -> tuple[Exported, Task, Logits]:
    """A native export, loaded again, with its task and the logits of its validation rows."""
    task = task_of_kind(case.kind, 8, 9, 8)
    stack = moved(case.config, backbone, task)
    tokens = tokenise(task.validation, backbone.tokenizer, 10, case.truncation)
    logits = logits_of(stack, tokens)[0]
    module = Module(case.config, 0, stack.states()[0])
    write_export(folder, module, backbone, task, 10, logits, {}, truncation=case.truncation)
    return load_export(folder, backbone), task, logits


@dataclass(frozen=True)
class Found:
    """What came of one case: from Peltier, and from the file alone."""

    folder: Path
    expected: Logits
    logits: Logits
    said: list[dict[str, Any]]
    predictions: list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(
    bare_python: Path, backbones: dict[str, Backbone], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Found]:
    """All cases, read by one process that has torch, transformers and safetensors only."""
    root, native = tmp_path_factory.mktemp("standalone"), tmp_path_factory.mktemp("native")
    before = {}
    for name, case in CASES.items():
        export, task, logits = exported(native / name, case, backbones[case.family])
        assert standalone.refusal(export) is None
        (root / name / "module").mkdir(parents=True)
        standalone.write(root / name / "module", export)
        rows = task.validation
        given = {"texts": rows.texts, "pairs": rows.pairs}
        (root / name / "rows.json").write_text(json.dumps(given))
        before[name] = logits, list(export.predict(rows.texts, rows.pairs))
    run([bare_python, "-I", "-c", PREDICTED, str(root)], check=True, env={"OMP_NUM_THREADS": "1"})
    return {
        name: Found(
            root / name / "module",
            logits,
            np.load(root / name / "logits.npy"),
            said,
            json.loads((root / name / "predictions.json").read_text()),
        )
        for name, (logits, said) in before.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_the_file_alone_gives_the_trained_logits_and_the_same_predictions(
    name: str, found: dict[str, Found]
) -> None:
    one = found[name]
    assert one.logits.dtype == np.float32
    assert np.abs(one.logits - one.expected).max() <= standalone.TOLERANCE
    for said, prediction in zip(one.said, one.predictions, strict=True):
        assert said.keys() == prediction.keys()
        for key, value in said.items():
            numbers = key in ("value", "probabilities")
            assert prediction[key] == (pytest.approx(value, abs=1e-4) if numbers else value)


def test_every_file_is_formatted_and_clean_and_names_no_module_that_is_not_there(
    found: dict[str, Found],
) -> None:
    files = [str(one.folder / "predict.py") for one in found.values()]
    ruff, config = [sys.executable, "-m", "ruff"], ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    assert run([*ruff, "format", "--check", "--quiet", *config, *files]).returncode == 0
    assert run([*ruff, "check", "--quiet", *config, *files]).returncode == 0
    for file in files:
        text = Path(file).read_text()
        assert not re.search(r"jaxtyping|(import|from) (peft|trainers)|pickle", text)


def test_a_file_holds_the_code_of_its_method_and_no_other(found: dict[str, Found]) -> None:
    texts = {
        name: (found[name].folder / "predict.py").read_text()
        for name in ("lora", "bitfit", "mixture on bert")
    }
    classes = {name: re.findall(r"^class (\w+)", text, re.M) for name, text in texts.items()}
    assert classes["lora"] == ["Rows", "LoRADelta", "Predictor"]
    assert classes["bitfit"] == ["Rows", "BiasDelta", "Predictor"]
    assert {"AdapterDelta", "PrefixDelta", "LoRADelta", "ScaleDelta"} <= set(classes["mixture on bert"])
    assert "dropout" not in texts["lora"] and "prefix" not in texts["lora"].lower()
    assert 'return x @ tensors["a"].mT @ scaled.mT' in texts["lora"]  # as in trainers/methods/lora.py


def test_the_folder_holds_the_backbone_and_apart_from_it_the_module(found: dict[str, Found]) -> None:
    names = {path.name for path in found["lora"].folder.iterdir()}
    assert {"config.json", "model.safetensors", "module.safetensors", "module.json", "predict.py"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    stored = load_file(found["lora"].folder / "module.safetensors")
    assert {name.rpartition(".")[2] for name in stored} == {"a", "b", "scale", "weight", "bias"}
    # Full fine-tuning changes the backbone itself, so the module is the head alone.
    assert load_file(found["full"].folder / "module.safetensors").keys() == {"head.weight", "head.bias"}


def test_the_check_runs_as_a_user_would_without_peltier(
    bare_python: Path, found: dict[str, Found], tmp_path: Path
) -> None:
    one, out = found["pair-classification, head+tail"], tmp_path / "logits.npy"
    rows = one.folder.parent / "rows.json"
    command = [bare_python, "-I", "-c", standalone.CHECK, str(one.folder), str(rows), str(out)]
    run(command, check=True, env={"OMP_NUM_THREADS": "1"})
    assert np.abs(np.load(out) - one.expected).max() <= standalone.TOLERANCE


def test_methods_of_peft_and_quantised_backbones_are_refused_in_one_line(
    backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    export, _, _ = exported(tmp_path / "lora", CASES["lora"], backbones["bert"])
    hidden = replace(export.stack.backbone, precision="4bit")
    quantised = Exported(export.manifest, Stack(hidden, export.stack.candidates, 3, export.stack.states()))
    assert standalone.refusal(quantised) == (
        "the module was trained on a backbone in 4bit, which needs bitsandbytes"
    )
    oft = Exported(
        {**export.manifest, "method": "peft:OFT"},
        build_stack(export.stack.backbone, [Candidate(bridged("peft:OFT")(), 0)], 3),
    )
    assert standalone.refusal(oft) == "peft:OFT is computed by peft, which a standalone file does without"
