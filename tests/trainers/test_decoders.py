"""Causal families: what the heads read, padding on either side, and tokenizers made for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import away_from_its_start, batch_of, make_backbone
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoModel

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.batches import Batch
from trainers.method import METHODS, MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.prompt import PromptConfig
from trainers.methods.reft import ReFTConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.stack import Stack
from trainers.task import Split
from trainers.tokenising import tokenise

DECODERS = ("gpt2", "opt", "llama", "qwen2", "qwen3", "mistral")
CONFIGS = [
    LoRAConfig(rank=3),
    PrefixConfig(prefix_length=4),
    PrefixConfig(prefix_length=4, positions="shifted"),
    PromptConfig(prompt_length=4),
    ReFTConfig(rank=2, positions=1),
    UniPELTConfig(modules="APL"),
    UniPELTConfig(modules="AP", pooling="first token"),
]


@pytest.fixture(scope="module")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Backbone]:
    @cache
    def made(family: str) -> Backbone:
        return load(str(make_backbone(tmp_path_factory.mktemp(family), family)), dtype="fp32")

    return made


def padded_left(batch: Batch) -> Batch:
    """The same sentences, each moved to the end of its row."""
    lengths = batch.attention_mask.sum(1).tolist()
    width = batch.attention_mask.shape[1]

    def moved(rows: Tensor) -> Tensor:
        return torch.stack([row.roll(width - length) for row, length in zip(rows, lengths, strict=True)])

    return replace(
        batch,
        input_ids=moved(batch.input_ids),
        attention_mask=moved(batch.attention_mask),
        token_type_ids=None,
    )


def logits(stack: Stack, batch: Batch) -> Tensor:
    with stack.attached(), torch.no_grad():
        return stack.logits(batch)[0]


@pytest.mark.parametrize("family", DECODERS)
def test_head_reads_what_transformers_computes_for_the_last_word(
    family: str, tiny_decoder: Callable[[str], Backbone]
) -> None:
    backbone = tiny_decoder(family)
    stack, state = away_from_its_start(backbone, METHODS["linear_probe"]())
    stock = AutoModel.from_pretrained(backbone.folder, dtype=torch.float32).eval()
    batch = batch_of(backbone)
    found = logits(stack, batch)
    for row, (ids, mask) in enumerate(zip(batch.input_ids, batch.attention_mask, strict=True)):
        with torch.no_grad():
            last = stock(ids[mask.bool()].unsqueeze(0)).last_hidden_state[0, -1]
        expected = linear(last, state["head.weight"], state["head.bias"])
        assert torch.allclose(found[row], expected, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.name} {config.values()}"[:60])
@pytest.mark.parametrize("family", DECODERS)
def test_padding_on_the_left_gives_the_logits_of_padding_on_the_right(
    family: str, config: MethodConfig, tiny_decoder: Callable[[str], Backbone]
) -> None:
    backbone = tiny_decoder(family)
    stack, _ = away_from_its_start(backbone, config)
    right = batch_of(backbone)
    assert torch.allclose(logits(stack, padded_left(right)), logits(stack, right), atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "roberta"])
def test_bert_tokenizer_numbers_segments_only_for_a_model_that_has_them(family: str, tmp_path: Path) -> None:
    # GPT-2 adds the embeddings of words 0 and 1 for segments 0 and 1; a RoBERTa without segments fails.
    sizes = {"type_vocab_size": 1} if family == "roberta" else {}
    backbone = load(str(make_backbone(tmp_path, family, **sizes)), dtype="fp32")
    pair = Split(("good film",), ("we love it",), np.zeros(1, np.int64))
    assert tokenise(pair, backbone.tokenizer, 32).types is None
