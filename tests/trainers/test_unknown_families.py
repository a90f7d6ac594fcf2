"""Backbones of families that the table does not name: used when built alike, else refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CLASSES, SIZES, away_from_its_start, batch_of, make_backbone
from torch import Tensor
from transformers import AutoModel
from transformers.models.olmo2 import modeling_olmo2

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load, outline
from trainers.checkpoint import BackboneError
from trainers.families import AFTER_PADDING
from trainers.method import MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.stack import Stack

BERT, GROUPED = SIZES["bert"], SIZES["llama"]
ALIKE: dict[str, dict[str, object]] = {
    "camembert": SIZES["roberta"],
    "ernie": BERT,
    "eurobert": GROUPED,
    "gemma": {**GROUPED, "head_dim": 8},
    "olmo2": GROUPED,
}
"""CamemBERT is built like RoBERTa, ERNIE like BERT, the others like Llama; EuroBERT sees both ways."""
PROPERTIES = {
    "camembert": (False, AFTER_PADDING),
    "ernie": (False, 0),
    "eurobert": (False, 0),
    "gemma": (True, 0),
    "olmo2": (True, 0),
}
UNLIKE: dict[str, dict[str, object]] = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "vit": {**BERT, "image_size": 8, "patch_size": 4},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64},
    "mobilebert": BERT,
    "gemma2": {**GROUPED, "head_dim": 8, "attn_logit_softcapping": 50.0},
    "cohere": GROUPED,
}
"""BLOOM and ViT have other modules, GPT-Neo its own table of attention functions, BART two stacks of layers,
MobileBERT other widths inside its layers, Gemma 2 bounded scores, Cohere a LayerNorm class of its own."""


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Backbone]:
    @cache
    def made(family: str) -> Backbone:
        folder = make_backbone(tmp_path_factory.mktemp(family), family, **ALIKE[family])
        return load(str(folder), dtype="fp32")

    return made


@pytest.mark.parametrize("family", ALIKE)
def test_family_built_like_a_known_one_is_measured_rightly(
    family: str, alike: Callable[[str], Backbone]
) -> None:
    backbone, batch = alike(family), batch_of(alike(family))
    assert (backbone.family.decoder, backbone.family.first_position) == PROPERTIES[family]
    assert outline(str(backbone.folder)).sites == backbone.sites
    stock = AutoModel.from_pretrained(
        backbone.folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    numbered = backbone.positions(batch.attention_mask)
    with torch.no_grad():
        theirs = stock(**inputs).last_hidden_state
        ours = backbone.model(**inputs, **numbered).last_hidden_state
    real = batch.attention_mask.bool()
    assert torch.allclose(ours[real], theirs[real], atol=1e-5)


@pytest.mark.parametrize("family", ALIKE)
def test_family_is_measured_the_same_in_bf16(family: str, alike: Callable[[str], Backbone]) -> None:
    # Rounding made Gemma differ from itself by 3.5 %, which was taken for another attention.
    rounded = load(str(alike(family).folder), dtype="bf16")
    assert rounded.family == alike(family).family
    assert {parameter.dtype for parameter in rounded.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("config", [LoRAConfig(rank=3, targets="all linear"), PrefixConfig(prefix_length=3)])
@pytest.mark.parametrize("family", ALIKE)
def test_candidates_beside_each_other_are_what_they_are_alone(
    family: str, config: MethodConfig, alike: Callable[[str], Backbone]
) -> None:
    backbone, batch = alike(family), batch_of(alike(family))
    alone, state = away_from_its_start(backbone, config)
    start = Stack(backbone, alone.candidates, CLASSES).states()[0]
    both = Stack(backbone, alone.candidates * 2, CLASSES, [start, state])
    with torch.no_grad():
        with alone.attached():
            expected = alone.logits(batch)[0]
        with both.attached():
            frozen, found = both.logits(batch)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(frozen, expected, atol=1e-3)


@pytest.mark.parametrize("family", UNLIKE)
def test_family_built_like_none_is_refused_naming_those_that_are_known(family: str, tmp_path: Path) -> None:
    folder = str(make_backbone(tmp_path, family, **UNLIKE[family]))
    with pytest.raises(BackboneError, match=f"of family '{family}', unknown.*families: albert, bert"):
        load(folder, dtype="fp32")


def test_family_built_alike_that_computes_another_attention_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = modeling_olmo2.eager_attention_forward

    def sharper(*args: Any, scaling: float, **options: Any) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = theirs(*args, scaling=1.1 * scaling, **options)
        return found

    monkeypatch.setattr(modeling_olmo2, "eager_attention_forward", sharper)
    folder = str(make_backbone(tmp_path, "olmo2", **ALIKE["olmo2"]))
    with pytest.raises(BackboneError, match="of family 'olmo2', unknown"):
        load(folder, dtype="fp32")


def test_outline_refuses_an_unknown_family_without_its_weights(tmp_path: Path) -> None:
    folder = make_backbone(tmp_path, "bloom", **UNLIKE["bloom"])
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(BackboneError, match="of family 'bloom', unknown"):
        outline(str(folder))
