"""Native heads: what each family's own classifier in transformers gives, stacked, counted and exported."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import CLASSES, SIZES, batch_of, data_of, make_backbone, task_of_kind, train
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from trainers.backbone import Backbone, load, outline
from trainers.checkpoint import BackboneError
from trainers.cost import cost_of
from trainers.head import head_tensors
from trainers.heads import losses
from trainers.methods.full import FullConfig
from trainers.methods.linear_probe import LinearProbeConfig
from trainers.methods.lora import LoRAConfig
from trainers.native_heads import RECIPES
from trainers.probe import linear_probe
from trainers.stack import Candidate, Stack, State
from trainers.train import logits_of

NATIVE_FAMILIES = [family for family in SIZES if family != "t5"]
NAMES = {
    "bert": {"head": "classifier"},
    "albert": {"head": "classifier"},
    "distilbert": {"head": "classifier", "head.dense": "pre_classifier"},
    "deberta-v2": {"head": "classifier", "head.dense": "pooler.dense"},
    "modernbert": {"head": "classifier", "head.dense": "head.dense", "head.norm": "head.norm"},
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "electra", "mpnet"),
        {"head": "classifier.out_proj", "head.dense": "classifier.dense"},
    ),
}
"""Where transformers keeps a head of ours; decoders have a `score`."""


@pytest.fixture(scope="module")
def backbone_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A family's tiny backbone with its native head."""

    @cache
    def made(family: str, *sizes: tuple[str, object]) -> Backbone:
        folder = make_backbone(tmp_path_factory.mktemp(family), family, **dict(sizes))
        return load(str(folder), dtype="fp32", head="native")

    return made


def classifier(backbone: Backbone, state: State, outputs: int = CLASSES) -> nn.Module:
    """transformers' own class, loaded as its users load it, with our numbers in its head."""
    config = AutoConfig.from_pretrained(backbone.folder, num_labels=outputs)
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(backbone.folder, config=config)
    names = NAMES.get(backbone.model_type, {"head": "score"})
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in head_tensors(state).items():
            layer, _, parameter = name.rpartition(".")
            theirs.pop(f"{names[layer]}.{parameter}").copy_(tensor)
    left = [
        name for name in theirs if name.split(".")[0] in ("classifier", "score", "head", "pre_classifier")
    ]
    assert left == []
    return model.eval()


def moved(backbone: Backbone, seed: int = 0, outputs: int = CLASSES) -> State:
    """A head in which nothing is 0 or 1 by chance."""
    chance = torch.Generator().manual_seed(seed)
    first = backbone.head.initial(outputs, backbone.hidden_size, chance)
    return {
        name: tensor + 0.3 * torch.randn(tensor.shape, generator=chance) for name, tensor in first.items()
    }


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("family", NATIVE_FAMILIES)
def test_logits_are_those_of_the_familys_own_classifier(family: str, outputs: int, backbone_of: Any) -> None:
    backbone = backbone_of(family)
    state, batch = moved(backbone, outputs=outputs), batch_of(backbone)
    stack = Stack(backbone, [Candidate(LinearProbeConfig(), 0)], outputs, [state])
    with stack.attached(), torch.no_grad():
        (found,) = stack.logits(batch)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        expected = classifier(backbone, state, outputs)(**inputs).logits
    assert torch.allclose(found, expected, atol=1e-5)


def test_modernbert_pools_as_its_configuration_says(backbone_of: Any) -> None:
    variant = (("classifier_pooling", "mean"), ("classifier_bias", True), ("norm_bias", True))
    backbone = backbone_of("modernbert", *variant, ("classifier_activation", "relu"))
    assert backbone.pooling == "mean of the real tokens"
    state, batch = moved(backbone), batch_of(backbone)
    assert {"head.dense.bias", "head.norm.bias"} < state.keys()
    stack = Stack(backbone, [Candidate(LinearProbeConfig(), 0)], CLASSES, [state])
    with stack.attached(), torch.no_grad():
        (found,) = stack.logits(batch)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        expected = classifier(backbone, state)(**inputs).logits
    assert torch.allclose(found, expected, atol=1e-5)
    cls = backbone_of("modernbert", ("classifier_pooling", "cls"))
    assert cls.pooling == "first token"


@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt2"])
def test_candidates_side_by_side_are_as_alone(family: str, backbone_of: Any) -> None:
    backbone = backbone_of(family)
    candidates = [Candidate(LoRAConfig(rank=rank, learning_rate=0.01), rank) for rank in (2, 5)]
    together = train(Stack(backbone, candidates, CLASSES), 4, "adamw")
    for candidate, state in zip(candidates, together, strict=True):
        (alone,) = train(Stack(backbone, [candidate], CLASSES), 4, "adamw")
        assert alone.keys() == state.keys()
        assert all(torch.allclose(state[name], alone[name], atol=1e-4) for name in alone)


@pytest.mark.parametrize("family", ["roberta", "modernbert", "opt"])
def test_the_gradients_reach_every_number_of_the_head(family: str, backbone_of: Any) -> None:
    backbone = backbone_of(family)
    stack = Stack(backbone, [Candidate(LinearProbeConfig(), 0)], CLASSES, [moved(backbone)])
    batch = batch_of(backbone)
    with stack.attached():
        (rows,) = torch.autograd.grad(losses(stack.logits(batch), batch.labels).sum(), stack.parameters)
    (found,) = stack.unpack(rows)
    own = classifier(backbone, moved(backbone)).requires_grad_()
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    nn.functional.cross_entropy(own(**inputs).logits, batch.labels).backward()
    names = NAMES.get(family, {"head": "score"})
    for name, gradient in found.items():
        layer, _, parameter = name.rpartition(".")
        assert torch.allclose(gradient, own.get_parameter(f"{names[layer]}.{parameter}").grad, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "electra", "llama"])
def test_the_head_is_counted_as_it_is_stored(family: str, backbone_of: Any) -> None:
    backbone = backbone_of(family)
    sketch = outline(str(backbone.folder), head="native")
    assert sketch.head == backbone.head
    cost = cost_of(LoRAConfig(), sketch.sites, CLASSES, sketch.hidden_size, sketch.head)
    (state,) = Stack(backbone, [Candidate(LoRAConfig(), 0)], CLASSES).states()
    assert cost.head_parameters == sum(tensor.numel() for tensor in head_tensors(state).values())
    assert cost.trainable_parameters == sum(tensor.numel() for tensor in state.values())
    width = 32
    last = CLASSES * (width + 1)
    counts = {"bert": last, "electra": width * (width + 1) + last, "llama": CLASSES * width}
    assert cost.head_parameters == counts[family]


@pytest.mark.parametrize("kind", ["classification", "multi-label", "regression"])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_the_linear_probe_solves_the_last_layer(family: str, kind: str, backbone_of: Any) -> None:
    backbone = backbone_of(family)
    task = task_of_kind(kind, 60, 20, 20)
    data = replace(data_of(backbone, task), centred=backbone.head.bias)
    probe = linear_probe(backbone, data)
    stack = Stack(backbone, [Candidate(LinearProbeConfig(), 0)], task.outputs, [probe.state])
    (found,) = logits_of(stack, data.validation)
    assert np.allclose(found, probe.validation_logits, atol=1e-4)
    if kind == "regression":
        assert abs(found.mean() - task.train.labels.mean()) < 3


def test_full_fine_tuning_trains_the_head_and_leaves_the_pooler_alone(backbone_of: Any) -> None:
    backbone = backbone_of("bert")
    stack = Stack(backbone, [Candidate(FullConfig(learning_rate=5e-4), 0)], CLASSES)
    (before,) = stack.states()
    (after,) = train(stack, 3, "adamw")
    assert not any("pooler" in name for name in after)
    assert not torch.allclose(before["head.weight"], after["head.weight"], atol=1e-4)


def test_a_checkpoint_without_a_pooler_is_told_of_the_other_head(tmp_path: Path) -> None:
    folder = make_backbone(tmp_path / "bert", "bert")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: weight for name, weight in weights.items() if "pooler" not in name},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(BackboneError, match=r"has no pooler, .* use --head mean"):
        load(str(folder), head="native")
    with pytest.raises(BackboneError, match="has no pooler"):
        outline(str(folder), head="native")
    # Such a checkpoint has the same hash whenever it is loaded: no random pooler is a part of it.
    assert load(str(folder)).weight_hash == load(str(folder)).weight_hash


def test_families_without_a_classifier_of_the_encoder_alone_are_refused(tmp_path: Path) -> None:
    folder = make_backbone(tmp_path / "t5", "t5")
    with pytest.raises(BackboneError, match="family 't5', whose classifier .* use --head mean"):
        load(str(folder), head="native")
    assert "t5" not in RECIPES
    assert load(str(folder)).head.name == "mean"


TAGGED = {"gpt2": "classifier", "llama": "score", "bert": "classifier", "deberta-v2": "classifier"}


@pytest.mark.parametrize("family", TAGGED)
def test_words_need_no_native_head_because_ours_is_the_classifier_of_tokens(
    family: str, tmp_path: Path
) -> None:
    backbone = load(str(make_backbone(tmp_path / family, family)), dtype="fp32")
    state, batch = moved(backbone), batch_of(backbone)
    model = AutoModelForTokenClassification.from_pretrained(backbone.folder, num_labels=CLASSES).eval()
    with torch.no_grad():
        layer = model.get_submodule(TAGGED[family])
        layer.weight.copy_(state["head.weight"])
        layer.bias.copy_(state["head.bias"])
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        expected = model(**inputs).logits.flatten(0, 1)
    places = torch.arange(batch.input_ids.numel())[batch.attention_mask.flatten() == 1]
    stack = Stack(backbone, [Candidate(LinearProbeConfig(), 0)], CLASSES, [state])
    with stack.attached(), torch.no_grad():
        (found,) = stack.logits(replace(batch, words=places))
    assert torch.allclose(found, expected[places], atol=1e-5)
