"""The merged format: a plain model of transformers gives the logits of the module, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported import Case, case_of, in_a_fresh_process
from tiny import make_backbone

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.formats import merged
from trainers.method import METHODS
from trainers.methods.lora import LoRAConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.predictions import Logits

ALL = {"rank": 3, "alpha": 6.0, "targets": "all linear"}
SEPARATE = "classification"
EVERY = {
    "lora": LoRAConfig(**ALL),
    "rslora": LoRAConfig(**ALL, rslora=True),
    "dora": LoRAConfig(**ALL, dora=True),
    "lora and bitfit": UniPELTConfig(modules="LB", gates="A"),
    "lora and ia3": UniPELTConfig(modules="LI", gates="A"),
    **{name: METHODS[name]() for name in ("bitfit", "ia3", "layernorm", "vera", "full", "linear_probe")},
}
"""What can be merged, by name."""
FAMILIES = {
    "bert": EVERY,
    "gpt2": EVERY,
    "llama": {name: config for name, config in EVERY.items() if name not in ("bitfit", "lora and bitfit")},
    "modernbert": {name: EVERY[name] for name in ("dora", "ia3", "layernorm", "vera")},
    "deberta-v2": {name: EVERY[name] for name in ("dora", "bitfit", "layernorm")},
    **{
        family: {name: EVERY[name] for name in ("lora and bitfit",)}
        for family in ("albert", "distilbert", "electra", "mpnet", "roberta", "opt")
    },
    **{family: {"lora and ia3": EVERY["lora and ia3"]} for family in ("mistral", "qwen2", "qwen3")},
}
KINDS = {
    "bert": ("multi-label", "regression", "pair-classification", "pair-regression", "token-classification"),
    "gpt2": ("pair-classification", "multi-label", "regression", "token-classification"),
    "t5": ("token-classification",),
    "deberta-v2": ("token-classification",),
    "llama": ("token-classification",),
}
CASES = [(f, name, "classification") for f, methods in FAMILIES.items() for name in methods]
CASES += [(family, "lora", kind) for family, kinds in KINDS.items() for kind in kinds]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Backbone]:
    """Family and head -> backbone."""
    found = {}
    for family in {family for family, _, _ in CASES}:
        folder = make_backbone(tmp_path_factory.mktemp(family), family)
        found[family, "mean"] = load(str(folder), dtype="fp32")
        if family != "t5":
            found[family, "native"] = found[family, "mean"].with_head("native")
    return found


@pytest.fixture(scope="module")
def cases(
    backbones: dict[tuple[str, str], Backbone], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Case]:
    folder, found = tmp_path_factory.mktemp("native"), {}
    for family, method, kind in CASES:
        backbone = backbones[family, "mean" if kind == "token-classification" else "native"]
        name = f"{family} {method} {kind}"
        found[name] = case_of(folder / name, backbone, EVERY[method], kind)
    return found


@pytest.fixture(scope="module")
def asked(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Logits]]:
    folder = tmp_path_factory.mktemp("merged")
    return folder, in_a_fresh_process(folder, merged, cases)


@pytest.mark.parametrize("name", [" ".join(case) for case in CASES])
def test_a_plain_model_gives_the_logits_of_the_module(
    name: str, cases: dict[str, Case], asked: tuple[Path, dict[str, Logits]]
) -> None:
    case = cases[name]
    assert merged.refusal(case.export) is None
    scale = max(1.0, float(np.abs(case.logits).max()))
    assert np.abs(asked[1][name] - case.logits).max() <= merged.TOLERANCE * scale
