"""AdapterHub's format: files and tensors as its library has them, and where it is at hand, its logits."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import Case, case_of, in_a_fresh_process
from safetensors.torch import load_file
from tiny import LABELS, make_backbone
from torch import Tensor

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.export import Exported, ExportError, Module, exported
from trainers.formats import ELSEWHERE, FORMATS, adapterhub, check_offered
from trainers.formats.adapterhub_modules import CLASSES
from trainers.formats.elsewhere import VARIABLE, python_of
from trainers.formats.release import release
from trainers.method import METHODS, MethodConfig
from trainers.methods.adapter import AdapterConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.predictions import Logits

ALL = UniPELTConfig(bottleneck=5, prefix_length=3, rank=4)
EVERY: dict[str, MethodConfig] = {
    "pfeiffer": AdapterConfig(bottleneck=5),
    "houlsby": AdapterConfig(placement="houlsby", bottleneck=8, activation="swish", scaling=2.0),
    "parallel": AdapterConfig(placement="parallel", bottleneck=48, activation="gelu", scaling=4.0),
    "adapter on top": AdapterConfig(placement="houlsby", activation="tanh", layers="top 1"),
    "lora": LoRAConfig(rank=3, alpha=6.5),
    "lora of the network": LoRAConfig(rank=3, targets="ffn", rslora=True, layers="top 1"),
    "lora of five": LoRAConfig(targets="query key value ffn_in ffn_out"),
    "prefix": PrefixConfig(prefix_length=4),
    "prefix network": PrefixConfig(prefix_length=4, reparametrised=True, layers="top 1"),
    "unipelt": ALL,
    "unipelt AP": replace(ALL, modules="AP", gates="A"),
    "unipelt without gates": replace(ALL, gates="none", pooling="first token"),
}
PREFIXED = ("prefix", "prefix network", "unipelt", "unipelt AP", "unipelt without gates")
KINDS = ("pair-classification", "multi-label", "regression", "token-classification")
CASES = [("bert", name, "classification") for name in EVERY]
CASES += [
    (family, name, "classification")
    for family in CLASSES
    for name in EVERY
    if family != "bert" and (family != "distilbert" or name not in PREFIXED)
]
CASES += [("bert", "unipelt", kind) for kind in KINDS] + [("roberta", "houlsby", kind) for kind in KINDS]
NAMES = [" ".join(case) for case in CASES]
with_the_library = pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"{VARIABLE} names no Python that has the library adapters"
)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backbone]:
    found = {}
    for family in (*CLASSES, "gpt2"):
        folder = make_backbone(tmp_path_factory.mktemp(family), family)
        found[family] = load(str(folder), dtype="fp32", head="native")
    return found


def case(folder: Path, backbones: dict[str, Backbone], config: MethodConfig, *where: str) -> Case:
    family, kind = (*where, *("bert", "classification")[len(where) :])
    head = "mean" if kind == "token-classification" else "native"
    return case_of(folder, backbones[family].with_head(head), config, kind)


def written(folder: Path, case: Case) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration in an export and its tensors, those of the head left out."""
    assert adapterhub.refusal(case.export) is None
    folder.mkdir()
    adapterhub.write(folder, case.export)
    facts = json.loads((folder / "adapter_config.json").read_text())
    return facts, load_file(folder / "adapter.safetensors")


def shapes(tensors: dict[str, Tensor], layer: str = "") -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if layer in name}


@pytest.fixture(scope="module")
def asked(
    backbones: dict[str, Backbone], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Logits, Logits]]:
    """Name of a case -> the logits of the library and those of the module."""
    folder = tmp_path_factory.mktemp("adapterhub")
    cases = {
        name: case(folder / "native" / name, backbones, EVERY[method], family, kind)
        for name, (family, method, kind) in zip(NAMES, CASES, strict=True)
    }
    assert not [name for name, one in cases.items() if adapterhub.refusal(one.export)]
    found = in_a_fresh_process(folder, adapterhub, cases, os.environ[VARIABLE])
    return {name: (found[name], one.logits) for name, one in cases.items()}


@with_the_library
@pytest.mark.parametrize("name", NAMES)
def test_the_library_gives_the_logits_of_the_module(
    name: str, asked: dict[str, tuple[Logits, Logits]]
) -> None:
    found, expected = asked[name]
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= adapterhub.TOLERANCE * max(1.0, float(np.abs(expected).max()))


@with_the_library
def test_a_release_is_loaded_by_the_library_and_a_wrong_one_is_not_given_out(
    backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    one = case(tmp_path / "native", backbones, ALL)
    release(tmp_path / "out", one.export, one.task, one.logits, {"study": "films-1"}, format="adapterhub")
    manifest = json.loads((tmp_path / "out" / "peltier.json").read_text())
    assert manifest["format"] == "adapterhub" and manifest["parity"]["largest_difference"] <= 1e-4
    assert manifest["latency"]["ms"] > 0 and "adapter.safetensors" in manifest["files"]
    assert "one text at a time" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(ExportError, match="differs from the trained one"):
        release(tmp_path / "off", one.export, one.task, one.logits + 0.01, {}, format="adapterhub")
    assert not (tmp_path / "off").exists()


# ------------------------------------------------------------------------------- files and tensors


def test_an_adapter_has_the_places_of_pfeiffer_or_houlsby(
    backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    one = case(tmp_path / "one", backbones, EVERY["pfeiffer"])
    facts, tensors = written(tmp_path / "pfeiffer", one)
    assert facts["config"] | {"original_ln_before": True, "mh_adapter": False} == facts["config"]
    assert facts["config"]["reduction_factor"] == 32 / 5.5 and 32 // (32 / 5.5) == 5
    path = "bert.encoder.layer.0.output.adapters.peltier."
    assert shapes(tensors, "layer.0.") == {
        f"{path}adapter_down.0.weight": (5, 32),
        f"{path}adapter_down.0.bias": (5,),
        f"{path}adapter_up.weight": (32, 5),
        f"{path}adapter_up.bias": (32,),
    }
    two = case(tmp_path / "two", backbones, EVERY["adapter on top"], "distilbert")
    facts, tensors = written(tmp_path / "houlsby", two)
    assert facts["config"] | {"original_ln_before": False, "mh_adapter": True} == facts["config"]
    assert facts["config"]["leave_out"] == [0] and facts["config"]["non_linearity"] == "tanh"
    places = {name.split(".adapters.")[0] for name in tensors}
    layer = "distilbert.transformer.layer.1"
    assert places == {f"{layer}.attention_adapters", f"{layer}.output_adapters"}


def test_a_mixture_is_a_union_whose_parts_have_their_gates(
    backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    facts, tensors = written(tmp_path / "out", case(tmp_path / "native", backbones, ALL, "xlm-roberta"))
    union = {one.get("architecture", "adapter"): one for one in facts["config"]["configs"]}
    assert facts["config"]["architecture"] == "union" and set(union) == {"adapter", "prefix_tuning", "lora"}
    assert all(one["use_gating"] and not one["leave_out"] for one in union.values())
    assert union["lora"]["attn_matrices"] == ["q", "v"] and union["lora"]["r"] == 4
    assert (facts["model_class"], facts["model_type"]) == ("XLMRobertaAdapterModel", "xlm-roberta")
    layer = "roberta.encoder.layer.0"
    attention, adapter = f"{layer}.attention.self", f"{layer}.output.adapters.peltier"
    loras = [f"{attention}.{role}.loras.peltier" for role in ("query", "value")]
    gates = [*loras, adapter]
    prefix_gate = f"{attention}.prefix_tuning.prefix_gates.peltier"
    assert shapes(tensors, "layer.0.") == {
        **{f"{lora}.lora_A": (4, 32) for lora in loras},
        **{f"{lora}.lora_B": (32, 4) for lora in loras},
        **{f"{gate}.gate.weight": (1, 32) for gate in gates},
        **{f"{gate}.gate.bias": (1,) for gate in gates},
        f"{prefix_gate}.weight": (1, 32),
        f"{prefix_gate}.bias": (1,),
        **{
            f"{adapter}.adapter_down.0.{name}": shape for name, shape in (("weight", (5, 32)), ("bias", (5,)))
        },
        **{f"{adapter}.adapter_up.{name}": shape for name, shape in (("weight", (32, 5)), ("bias", (32,)))},
    }
    slots = tensors["roberta.prefix_tuning.prefix_tunings.peltier.self_prefix.control_trans"]
    assert slots.shape == (3 * 2 * 2 * 32,), "three slots of keys and values of two layers"


@pytest.mark.parametrize(
    ("family", "kind", "head", "layers"),
    [
        ("bert", "classification", "classification", {"1": (3, 32)}),
        ("bert", "token-classification", "tagging", {"1": (3, 32)}),
        ("roberta", "regression", "classification", {"1": (32, 32), "4": (1, 32)}),
        ("electra", "multi-label", "multilabel_classification", {"1": (32, 32), "4": (3, 32)}),
    ],
)
def test_the_head_is_one_of_the_librarys(
    family: str,
    kind: str,
    head: str,
    layers: dict[str, tuple[int, ...]],
    backbones: dict[str, Backbone],
    tmp_path: Path,
) -> None:
    written(tmp_path / "out", case(tmp_path / "native", backbones, LoRAConfig(), family, kind))
    config = json.loads((tmp_path / "out" / "head_config.json").read_text())["config"]
    labels = {"value": 0} if kind == "regression" else {label: i for i, label in enumerate(LABELS)}
    assert (config["head_type"], config["layers"]) == (head, len(layers))
    assert config["label2id"] == labels and config["num_labels"] == len(labels)
    assert config.get("use_pooler", False) == (family == "bert" and kind == "classification")
    tensors = load_file(tmp_path / "out" / "model_head.safetensors")
    weights = {name.split(".")[2]: shape for name, shape in shapes(tensors, "weight").items()}
    assert weights == layers and all(name.startswith("heads.peltier.") for name in tensors)


def test_nothing_is_pickled_and_the_tokenizer_is_one_that_older_transformers_know(
    backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    written(tmp_path / "out", case(tmp_path / "native", backbones, LoRAConfig()))
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"adapter_config.json", "head_config.json", "tokenizer.json"} <= files
    assert {name for name in files if not name.endswith(".json")} == {
        "adapter.safetensors",
        "model_head.safetensors",
    }
    facts = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert facts["tokenizer_class"] == "PreTrainedTokenizerFast" and facts["model_max_length"] == 32


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("config", "family", "why"),
    [
        (METHODS["bitfit"](), "bert", "holds adapters, prefixes, LoRA and unions of them, .* is bitfit"),
        (LoRAConfig(), "gpt2", "is written for families bert, .* is of 'gpt2'"),
        (PrefixConfig(positions="shifted"), "bert", "as if there were no prefix"),
        (LoRAConfig(dora=True), "bert", "DoRA rescales the bias"),
        (LoRAConfig(targets="attention"), "bert", "no LoRA behind the attention; search with --fix lora"),
        (replace(ALL, modules="APLB"), "bert", r"unions have adapter, prefix and LoRA \(APL\), .* has B$"),
        (replace(ALL, pooling="first token"), "bert", "these read the first one; search with --fix unipelt"),
        (replace(ALL, pooling="all tokens"), "bert", "logits depend on the batch; search with --fix unipelt"),
        (ALL, "distilbert", "adds 1 to the attention scores of a prefix"),
    ],
)
def test_what_the_library_computes_otherwise_is_refused_in_one_line(
    config: MethodConfig, family: str, why: str, backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    one = case(tmp_path / "native", backbones, config, family)
    found = adapterhub.refusal(one.export)
    assert found is not None and re.search(why, found) and "\n" not in found
    with pytest.raises(ExportError, match=f"{re.escape(found)}; formats that can: native"):
        check_offered("adapterhub", one.export)


def test_a_mean_of_tokens_is_refused(backbones: dict[str, Backbone], tmp_path: Path) -> None:
    one = case_of(tmp_path / "native", backbones["bert"].with_head("mean"), LoRAConfig())
    found = adapterhub.refusal(one.export)
    assert found == (
        "its head reads the mean of the real tokens, as no classifier does; search with --head native"
    )


def test_a_union_of_which_single_places_were_pruned_is_refused(
    backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    one = case(tmp_path / "native", backbones, ALL)
    (state,) = one.export.stack.states()

    def without(words: str) -> Exported:
        left = {name: tensor for name, tensor in state.items() if words not in name}
        assert len(left) < len(state)
        return exported(Module(ALL, 0, left), backbones["bert"], one.task, 32, "head")

    found = adapterhub.refusal(without("layer.1.attention.self.query.gated_lora"))
    assert found == "the library leaves out whole layers, and of this lora single places are gone"
    facts, tensors = written(tmp_path / "out", replace(one, export=without("layer.1.attention.self")))
    assert [part["leave_out"] for part in facts["config"]["configs"]].count([1]) == 2
    assert not shapes(tensors, "layer.1.attention.self")


# ----------------------------------------------------------------------------- the other environment


def test_without_an_environment_of_the_library_nothing_is_released(
    backbones: dict[str, Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    one = case(tmp_path / "native", backbones, LoRAConfig())
    out = tmp_path / "out"
    with pytest.raises(ExportError, match=r"environment of its own .* hub/bin/pip install adapters torch"):
        release(out, one.export, one.task, one.logits, {}, format="adapterhub")
    with pytest.raises(ExportError, match=r"cannot be run \(No such file or directory\); make one with"):
        release(out, one.export, one.task, one.logits, {}, format="adapterhub", elsewhere=tmp_path / "no")
    monkeypatch.setenv(VARIABLE, sys.executable)  # which has Peltier, and so another transformers
    with pytest.raises(ExportError, match="lacks adapters; make one with"):
        release(out, one.export, one.task, one.logits, {}, format="adapterhub")
    assert not out.exists()


def test_formats_of_this_environment_need_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not set(ELSEWHERE) & set(FORMATS)
    assert {python_of(name) for name in FORMATS} == {sys.executable}
