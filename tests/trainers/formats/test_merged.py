"""The merged format: a plain model of transformers gives the logits of the module, or it is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import Case, case_of, in_a_fresh_process
from tiny import CLASSES, LABELS, batch_of, make_backbone
from transformers import BertTokenizerFast, pipeline

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.bridge import KINDS as KINDS_OF_PEFT
from trainers.bridge import bridged
from trainers.building import build_stack
from trainers.formats import merged
from trainers.formats.merging import NO_CHANGE_OF_WEIGHTS, merged_weights
from trainers.head import head_tensors
from trainers.method import METHODS, MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.predictions import Logits
from trainers.stack import Candidate

ALL = {"rank": 3, "alpha": 6.0, "targets": "all linear"}
EVERY = {
    "lora": LoRAConfig(**ALL),
    "rslora": LoRAConfig(**ALL, rslora=True),
    "dora": LoRAConfig(**ALL, dora=True),
    "lora and bitfit": UniPELTConfig(modules="LB", gates="A"),
    "lora and ia3": UniPELTConfig(modules="LI", gates="A"),
    **{name: METHODS[name]() for name in ("bitfit", "ia3", "layernorm", "vera", "full", "linear_probe")},
    "peft:OFT": bridged("peft:OFT")(oft_block_size=16),
    "peft:LN_TUNING": bridged("peft:LN_TUNING")(),
}
"""What can be merged, by name; of peft's types one that multiplies the weights, and one that trains norms."""
FUSED = ("rslora", "dora", "lora and bitfit", "lora and ia3", "layernorm", "vera")
FAMILIES = {
    "bert": tuple(EVERY),
    "gpt2": (*FUSED, "full", "linear_probe"),
    "modernbert": ("dora", "lora and ia3", "layernorm", "vera"),
    "llama": ("lora and ia3", "layernorm", "vera", "full", "peft:OFT"),
    "deberta-v2": ("dora", "bitfit", "layernorm"),
    **dict.fromkeys(("albert", "distilbert", "electra", "mpnet", "roberta", "opt"), ("lora and bitfit",)),
    **dict.fromkeys(("mistral", "qwen2", "qwen3"), ("lora and ia3",)),
}
KINDS = {
    "bert": ("multi-label", "regression", "pair-classification", "pair-regression", "token-classification"),
    "gpt2": ("pair-classification", "multi-label", "regression", "token-classification"),
    "t5": ("token-classification",),
    "deberta-v2": ("token-classification",),
    "llama": ("token-classification",),
}
CASES = [(f, name, "classification") for f, methods in FAMILIES.items() for name in methods]
UNPADDED = "unpadded"
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
    found[UNPADDED] = case_of(folder / UNPADDED, without_padding(folder / "gpt2"), EVERY["lora"])
    return found


def without_padding(folder: Path) -> Backbone:
    """A decoder without a padding token, whose tokenizer ends every text as GPT-2's may."""
    make_backbone(folder, "gpt2", pad_token_id=None)
    BertTokenizerFast.from_pretrained(folder, pad_token=None, eos_token="[SEP]").save_pretrained(folder)
    return load(str(folder), dtype="fp32", head="native")


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


def test_labels_and_a_pipeline_come_with_it(
    cases: dict[str, Case], asked: tuple[Path, dict[str, Logits]]
) -> None:
    case = cases["bert lora classification"]
    folder = asked[0] / "bert-lora-classification" / "export"
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".txt"}
    said = pipeline("text-classification", str(folder), device="cpu")(list(case.task.validation.texts))
    expected = list(case.export.predict(case.task.validation.texts))
    assert [row["label"] for row in said] == [row["label"] for row in expected]
    for row, ours in zip(said, expected, strict=True):
        assert abs(row["score"] - max(ours["probabilities"].values())) < 1e-5
    config = json.loads((folder / "config.json").read_text())
    assert config["label2id"] == {label: i for i, label in enumerate(LABELS)}
    assert config["problem_type"] == "single_label_classification"
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_a_regression_gives_the_value_itself(
    cases: dict[str, Case], asked: tuple[Path, dict[str, Logits]]
) -> None:
    case = cases["bert lora regression"]
    folder = asked[0] / "bert-lora-regression" / "export"
    config = json.loads((folder / "config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "value"})
    said = pipeline("text-classification", str(folder), device="cpu")(
        list(case.task.validation.texts), function_to_apply="none"
    )
    values = [row["value"] for row in case.export.predict(case.task.validation.texts)]
    assert np.allclose([row["score"] for row in said], values, atol=1e-4)


REFUSED: dict[str, tuple[MethodConfig, str]] = {
    "adapter": (METHODS["adapter"](), "what adapter computes is no change of the frozen weights"),
    "prefix": (METHODS["prefix"](), "what prefix computes is no change of the frozen weights"),
    "prompt": (METHODS["prompt"](), "what prompt computes is no change of the frozen weights"),
    "compacter": (METHODS["compacter"](), "what compacter computes is no change of the frozen weights"),
    "reft": (METHODS["reft"](), "what reft computes is no change of the frozen weights"),
    "gated": (UniPELTConfig(modules="LB", gates="L"), "what unipelt computes is no change"),
    "with a prefix": (UniPELTConfig(modules="PL", gates="A"), "what unipelt computes is no change"),
    "peft:LILY": (bridged("peft:LILY")(), "peft does not add what peft:LILY computes to the frozen weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_merged_is_refused_in_one_line(
    name: str, backbones: dict[tuple[str, str], Backbone], tmp_path: Path
) -> None:
    config, reason = REFUSED[name]
    said = merged.refusal(case_of(tmp_path / "native", backbones["bert", "native"], config).export)
    assert said is not None and said.startswith(reason) and "\n" not in said


def test_every_method_is_merged_or_refused() -> None:
    known = {config.name for config in EVERY.values()} | {config.name for config, _ in REFUSED.values()}
    assert known >= set(METHODS)


def test_heads_that_no_class_has_are_refused(
    backbones: dict[tuple[str, str], Backbone], tmp_path: Path
) -> None:
    def said(family: str, kind: str = "classification") -> str | None:
        folder = tmp_path / f"{family}-{kind}"
        return merged.refusal(case_of(folder, backbones[family, "mean"], LoRAConfig(), kind).export)

    assert said("bert") == (
        "its head reads the mean of the real tokens, as no classifier does; search with --head native"
    )
    assert said("gpt2") == (
        "its head is trained with a bias, as no classifier of this family does; search with --head native"
    )
    assert said("t5") == "its head reads the mean of the real tokens, as no classifier does"
    assert "no classifier of tokens" in str(said("modernbert", "token-classification"))
    assert "no classifier of tokens" in str(said("opt", "token-classification"))


def test_a_cut_that_no_tokenizer_makes_is_refused(
    backbones: dict[tuple[str, str], Backbone], tmp_path: Path
) -> None:
    export = case_of(tmp_path / "native", backbones["bert", "native"], LoRAConfig()).export
    export = replace(export, manifest={**export.manifest, "truncation": "head+tail"})
    assert merged.refusal(export) == (
        "its texts are cut by head+tail, as no tokenizer does; search without --truncation"
    )


def test_weights_of_few_bits_are_refused(backbones: dict[tuple[str, str], Backbone], tmp_path: Path) -> None:
    export = case_of(tmp_path / "native", backbones["bert", "native"], LoRAConfig()).export
    export.stack.backbone = replace(export.stack.backbone, precision="4bit")
    assert "trained on weights in 4bit" in str(merged.refusal(export))


def test_padding_is_a_token_in_which_no_text_ends(
    cases: dict[str, Case], asked: tuple[Path, dict[str, Logits]]
) -> None:
    tokenizer = cases[UNPADDED].export.stack.backbone.tokenizer
    config = json.loads((asked[0] / UNPADDED / "export" / "config.json").read_text())
    assert tokenizer.pad_token_id is None
    assert tokenizer("good film")["input_ids"][-1] == tokenizer.eos_token_id
    assert config["pad_token_id"] == tokenizer.unk_token_id
    assert np.abs(asked[1][UNPADDED] - cases[UNPADDED].logits).max() <= merged.TOLERANCE


@pytest.mark.parametrize("kind", sorted(set(KINDS_OF_PEFT) - NO_CHANGE_OF_WEIGHTS))
def test_what_peft_merges_it_merges_exactly(kind: str, backbones: dict[tuple[str, str], Backbone]) -> None:
    backbone = backbones["bert", "native"]
    method = bridged(f"peft:{kind}")
    values = dict.fromkeys(method.kind.dividing, 8) | ({"r": 8} if kind == "PSOFT" else {})
    config = method(**values | ({"n_frequency": 100} if kind in ("FOURIERFT", "WAVEFT") else {}))
    stack = build_stack(backbone, [Candidate(config, 0)], CLASSES)
    with torch.no_grad():
        chance = torch.Generator().manual_seed(1)
        stack.parameters += 0.05 * torch.randn(stack.parameters.shape, generator=chance)
        (state,) = stack.states()
        expected = stack.logits(batch_of(backbone))
        model = copy.deepcopy(backbone.model)
        assert not model.load_state_dict(merged_weights(stack), strict=False).unexpected_keys
        head = [head_tensors(state)]
        plain = replace(backbone, model=model)
        found, before = (
            build_stack(one, [Candidate(METHODS["linear_probe"](), 0)], CLASSES, head).logits(batch_of(one))
            for one in (plain, backbone)
        )
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(before, expected, atol=1e-4)
