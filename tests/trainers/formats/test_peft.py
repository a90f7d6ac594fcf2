"""peft's format: its own loader, without Peltier, gives the logits of the module, or it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from exported import Case, case_of, in_a_fresh_process
from peft import PeftModel
from safetensors.torch import load_file
from tiny import LABELS, SIZES, make_backbone
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.bridge import KINDS, bridged
from trainers.formats import peft
from trainers.method import METHODS, MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.methods.vera import VeRAConfig
from trainers.predictions import Logits

RANK = {"rank": 3, "alpha": 6.5}
SHIFTED = PrefixConfig(prefix_length=4, positions="shifted")
EVERY: dict[str, MethodConfig] = {
    "lora": LoRAConfig(**RANK),
    "lora all linear": LoRAConfig(**RANK, targets="all linear"),
    "rslora": LoRAConfig(**RANK, targets="all linear", rslora=True),
    "dora": LoRAConfig(**RANK, targets="all linear", dora=True, layers="top 1"),
    "ia3": METHODS["ia3"](),
    "layernorm": METHODS["layernorm"](),
    "vera": VeRAConfig(rank=16),
    "prefix": SHIFTED,
    "prefix network": PrefixConfig(prefix_length=4, positions="shifted", reparametrised=True),
}
UNLIKE = {"mistral": {"sliding_window": None}}
"""Ours is seen from everywhere; peft's prefix leaves the window with the tokens that it stands beside."""
CACHED = ("bert", "roberta", "xlm-roberta", "electra", "gpt2", "opt", "llama", "qwen2", "qwen3", "mistral")
FUSED = ("gpt2", "modernbert")
"""Here query, key and value are one module."""
NOT_RUN = ("ADAPTION_PROMPT", "SHADOW")
"""Types of peft that do not run on BERT."""
REFUSED_TYPES = ("PROMPT_TUNING", "P_TUNING", "POLY", "FROD", "OSF", "PSOFT")


def of_peft(kind: str) -> MethodConfig:
    """A type of peft with sizes that a width of 32 allows."""
    config = bridged(f"peft:{kind}")
    values = {name: 8 for name in config.kind.dividing}
    if kind in ("FOURIERFT", "WAVEFT"):
        values["n_frequency"] = 100
    return config(**values | ({"r": 8} if kind == "PSOFT" else {}))


CASES = [("bert", name, "classification") for name in EVERY]
CASES += [
    (family, name, "classification") for family in FUSED for name in ("lora", "rslora", "dora", "ia3", "vera")
]
CASES += [
    (family, "lora all linear", "classification") for family in SIZES if family not in ("bert", "t5", *FUSED)
]
CASES += [(family, "prefix", "classification") for family in CACHED if family != "bert"]
CASES += [
    ("bert", method, kind)
    for method in ("lora", "prefix")
    for kind in ("pair-classification", "multi-label", "regression", "token-classification")
]
CASES += [
    ("t5", "ia3", "token-classification"),
    ("gpt2", "lora", "token-classification"),
    ("gpt2", "lora", "pair-regression"),
]
TYPES = [kind for kind in KINDS if kind not in NOT_RUN + REFUSED_TYPES]
CASES += [("bert", f"peft:{kind}", "classification") for kind in TYPES]
CASES += [("llama", "peft:SHADOW", "classification")]
NAMES = [" ".join(case) for case in CASES]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backbone]:
    found = {}
    for family in SIZES:
        folder = make_backbone(tmp_path_factory.mktemp(family), family, **UNLIKE.get(family, {}))
        found[family] = load(str(folder), dtype="fp32", head="mean" if family == "t5" else "native")
    return found


def config_of(method: str) -> MethodConfig:
    return EVERY[method] if method in EVERY else of_peft(method.removeprefix("peft:"))


@pytest.fixture(scope="module")
def cases(backbones: dict[str, Backbone], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder, found = tmp_path_factory.mktemp("native"), {}
    for name, (family, method, kind) in zip(NAMES, CASES, strict=True):
        backbone = backbones[family].with_head("mean" if kind == "token-classification" else "native")
        place = folder / name.replace(":", "-")
        found[name] = case_of(place, backbone, config_of(method), kind)
    return found


@pytest.fixture(scope="module")
def asked(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Logits]]:
    folder = tmp_path_factory.mktemp("peft")
    return folder, in_a_fresh_process(folder, peft, cases)


@pytest.mark.parametrize("name", NAMES)
def test_pefts_own_loader_gives_the_logits_of_the_module(
    name: str, cases: dict[str, Case], asked: tuple[Path, dict[str, Logits]]
) -> None:
    case = cases[name]
    assert peft.refusal(case.export) is None
    scale = max(1.0, float(np.abs(case.logits).max()))
    assert np.abs(asked[1][name] - case.logits).max() <= peft.TOLERANCE * scale


def test_the_folder_holds_module_and_head_and_says_the_labels(asked: tuple[Path, dict[str, Logits]]) -> None:
    folder = asked[0] / "roberta-lora-all-linear-classification" / "export"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["task_type"], config["r"]) == ("LORA", "SEQ_CLS", 3)
    stored = load_file(folder / "adapter_model.safetensors")
    head = sorted(name.removeprefix("base_model.model.") for name in stored if "classifier" in name)
    assert head == [
        f"classifier.{layer}.{part}" for layer in ("dense", "out_proj") for part in ("bias", "weight")
    ]
    labels = json.loads((folder / "labels.json").read_text())
    assert labels["label2id"] == {label: i for i, label in enumerate(LABELS)}


def test_peft_model_puts_it_on_a_classifier_and_merges_it(
    cases: dict[str, Case], asked: tuple[Path, dict[str, Logits]], backbones: dict[str, Backbone]
) -> None:
    name = "bert lora all linear classification"
    folder = asked[0] / name.replace(" ", "-") / "export"
    base = AutoModelForSequenceClassification.from_pretrained(
        backbones["bert"].folder, num_labels=len(LABELS)
    )
    model = PeftModel.from_pretrained(base, folder).merge_and_unload().eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = list(cases[name].task.validation.texts)
    logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.detach().numpy()
    assert np.abs(logits - cases[name].logits).max() <= peft.TOLERANCE


REFUSED: dict[str, tuple[MethodConfig, str]] = {
    **{
        name: (METHODS[name](), f"peft has no method that computes what {name} does")
        for name in ("adapter", "bitfit", "compacter", "reft", "unipelt")
    },
    "mixture without gates": (UniPELTConfig(modules="LI", gates="A"), "peft has no method that computes"),
    "prompt": (METHODS["prompt"](), "peft's classifiers read the slots of a prompt"),
    "prefix": (METHODS["prefix"](), "peft numbers the tokens from behind the prefix; search with --fix"),
    "prefix above": (
        PrefixConfig(positions="shifted", layers="top 1"),
        "peft's prefix stands in every layer",
    ),
    "full": (METHODS["full"](), "peft holds modules, and this is a whole model"),
    "linear_probe": (METHODS["linear_probe"](), "peft holds modules, and this is a head alone"),
    **{
        f"peft:{kind}": (of_peft(kind), "peft decomposes the weights anew where it loads it")
        for kind in ("FROD", "OSF", "PSOFT")
    },
    "peft:ADAPTION_PROMPT": (of_peft("ADAPTION_PROMPT"), "peft keeps no head beside it"),
    "peft:POLY": (of_peft("POLY"), "peft asks for the number of a task with every text"),
    "peft:P_TUNING": (of_peft("P_TUNING"), "peft's classifiers read the slots of a prompt"),
    "peft:PROMPT_TUNING": (of_peft("PROMPT_TUNING"), "peft's classifiers read the slots of a prompt"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_peft_cannot_represent_is_refused_in_one_line(
    name: str, backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    config, reason = REFUSED[name]
    backbone = backbones["llama" if name == "peft:ADAPTION_PROMPT" else "bert"]
    said = peft.refusal(case_of(tmp_path / "native", backbone, config).export)
    assert said is not None and said.startswith(reason) and "\n" not in said


def test_every_method_is_written_or_refused() -> None:
    known = {config.name for config in EVERY.values()} | {config.name for config, _ in REFUSED.values()}
    assert known >= set(METHODS)


def test_families_that_pefts_prefix_cannot_reach_are_refused(
    backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    for family in sorted(set(SIZES) - set(CACHED)):
        said = peft.refusal(case_of(tmp_path / family, backbones[family], SHIFTED).export)
        assert said == f"peft's prefix cannot reach the attention of family {family!r}"
    windowed = load(str(make_backbone(tmp_path / "windowed", "mistral")), dtype="fp32", head="native")
    said = peft.refusal(case_of(tmp_path / "mistral", windowed, SHIFTED).export)
    assert said is not None and said.startswith("peft's prefix leaves the window")
