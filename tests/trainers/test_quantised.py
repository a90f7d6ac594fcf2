"""Backbones whose linear layers bitsandbytes holds in 8 or 4 bits."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CLASSES, batch_of, sentences, train, write_backbone
from transformers import BertConfig

import trainers.methods  # noqa: F401
from selector.fitting import fitting_of
from selector.service import space_for
from selector.space import choose_methods, space_of
from selector.study import DataFile, StudySpec
from trainers.backbone import Backbone, load, outline
from trainers.checkpoint import BackboneError
from trainers.method import METHODS
from trainers.methods.lora import LoRAConfig
from trainers.stack import Candidate, Stack
from trainers.tokenising import tokenise
from trainers.train import logits_of

pytest.importorskip("bitsandbytes")
# bitsandbytes 0.50 multiplies 8-bit layers in fp16 and says so at every call.
pytestmark = pytest.mark.filterwarnings("ignore:MatMul8bitLt")

RUNS = ("lora", "adapter", "prefix", "bitfit", "ia3", "layernorm", "reft", "vera", "unipelt", "prompt")


@pytest.fixture(scope="module", params=["8bit", "4bit"])
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    # 4-bit layers are made of blocks of 64 numbers, so the usual width of 32 is too small.
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = BertConfig(vocab_size=45, max_position_embeddings=64, **sizes)
    folder = write_backbone(tmp_path_factory.mktemp("quantised"), config)
    return load(str(folder), dtype=request.param, device="cpu")


def test_linear_layers_are_quantised_and_the_rest_is_not(quantised: Backbone) -> None:
    query = quantised.model.get_submodule("encoder.layer.0.attention.self.query")
    assert query.get_parameter("weight").dtype in (torch.int8, torch.uint8)
    assert quantised.model.get_submodule("embeddings.LayerNorm").get_parameter("weight").is_floating_point()
    plain = load(quantised.reference, dtype="fp32")
    assert quantised.weight_hash == plain.weight_hash  # the same checkpoint
    sites = {(s.module, s.role): (s.d_in, s.d_out) for s in quantised.sites}
    assert sites == {(s.module, s.role): (s.d_in, s.d_out) for s in plain.sites if s.role != "parameter"}


@pytest.mark.parametrize("name", RUNS)
def test_methods_learn_on_it_and_candidates_do_not_disturb_each_other(name: str, quantised: Backbone) -> None:
    config = METHODS[name]()
    together = Stack(quantised, [Candidate(config, 0), Candidate(config, 1)], CLASSES)
    alone = Stack(quantised, [Candidate(config, 0)], CLASSES)
    (before,) = alone.states()
    (after,) = train(alone, 2, "sgd")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    states = train(together, 2, "sgd")
    # 8-bit layers round their inputs by the largest of a row, in fp16: equal up to that.
    for name, tensor in after.items():
        assert torch.allclose(states[0][name], tensor, atol=2e-4), name
    with alone.attached(), torch.no_grad():
        assert torch.isfinite(alone.logits(batch_of(quantised))).all()


def test_what_needs_the_weights_themselves_is_left_out(quantised: Backbone) -> None:
    sites = outline(quantised.reference, "4bit").sites
    methods, reasons = choose_methods(["lora", "full"], sites)
    assert methods == [LoRAConfig]
    assert reasons == ["full is left out: the backbone does not offer a place for it"]
    spec = StudySpec(train=DataFile(name="t.csv"), backbone=quantised.reference, dtype="4bit")
    fitted = fitting_of(spec, space_for(spec)[0], CLASSES)
    assert fitted.no_full == "weights in 4bit cannot be trained"
    assert fitted.reasons[-1] == "full fine-tuning is left out: weights in 4bit cannot be trained"
    plain = replace(spec, dtype="fp32")
    assert fitting_of(plain, space_for(plain)[0], CLASSES).no_full == ""
    assert space_of(methods, sites).domains["lora"]["dora"].contains(True) is False
    with pytest.raises(ValueError, match="DoRA needs the frozen weights"):
        Stack(quantised, [Candidate(LoRAConfig(dora=True), 0)], CLASSES)


def test_scores_are_taken_on_the_quantised_weights(quantised: Backbone) -> None:
    tokens = tokenise(sentences(20), quantised.tokenizer, 32)
    stack = Stack(quantised, [Candidate(LoRAConfig(), 0)], CLASSES)
    again = stack.on(quantised.in_fp32)
    assert np.allclose(logits_of(again, tokens), logits_of(stack, tokens), atol=1e-6)


def test_without_bitsandbytes_the_message_says_what_to_install(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "bitsandbytes" else found(n, *a)
    )
    with pytest.raises(
        BackboneError, match=r"not installed; install it with: pip install 'peltier\[quantised\]'"
    ):
        load(str(tiny_folder), dtype="4bit")
