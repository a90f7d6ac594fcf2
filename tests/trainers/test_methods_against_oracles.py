"""Methods against the paper's equations in plain torch, published counts and closed forms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import CLASSES, away_from_its_start, batch_of, train
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoModel, BertConfig, T5EncoderModel

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.batches import Batch
from trainers.cost import cost_of
from trainers.families import FAMILIES
from trainers.head import mean_of_tokens
from trainers.method import METHODS, MethodConfig
from trainers.methods.adapter import AdapterConfig
from trainers.methods.bitfit import BitFitConfig
from trainers.methods.full import FullConfig
from trainers.methods.ia3 import IA3Config
from trainers.methods.layernorm import LayerNormConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.prompt import PromptConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.methods.vera import VeRAConfig
from trainers.sites import Site, sites_of
from trainers.stack import Candidate, Stack, State

# Trained numbers of BERT-base without the head (UniPELT, Table 4, and the closed formulas behind it).
BERT_BASE = [
    (LoRAConfig(rank=8), 294_912),
    (AdapterConfig(bottleneck=48), 894_528),
    (PrefixConfig(prefix_length=10), 184_320),
    (BitFitConfig(), 102_912 - 768),  # without the pooler's bias, which the mean of the tokens does not see
    (UniPELTConfig(modules="AP"), 1_097_304),
    (UniPELTConfig(modules="APL"), 1_410_672),
    (UniPELTConfig(modules="APL", gates="none"), 294_912 + 894_528 + 184_320),
    (LoRAConfig(rank=8, dora=True), 313_344),
    (IA3Config(), 55_296),
    (LayerNormConfig(), 38_400),
    (PromptConfig(prompt_length=20), 15_360),
    (VeRAConfig(rank=256), 24_576),
    (AdapterConfig(placement="houlsby", bottleneck=48), 1_789_056),
    (AdapterConfig(placement="parallel", bottleneck=256), 12 * (2 * 768 * 256 + 256 + 768)),
    (FullConfig(), 109_482_240 - 768 * 769),  # without the pooler
]
# What training itself needs more: the network that makes the prefix.
WHILE_TRAINING = [
    (PrefixConfig(prefix_length=10, reparametrised=True), 9_857_024),
    (UniPELTConfig(modules="AP", reparametrised=True), 10_770_008),
    (UniPELTConfig(modules="APL", reparametrised=True), 11_083_376),
]


def bert_base() -> tuple[Site, ...]:
    with torch.device("meta"):
        return sites_of(AutoModel.from_config(BertConfig()), FAMILIES["bert"], 768)


@pytest.mark.parametrize(("config", "count"), BERT_BASE, ids=lambda value: str(value)[:40])
def test_parameter_counts_for_bert_base_equal_the_published_ones(config: MethodConfig, count: int) -> None:
    cost = cost_of(config, bert_base(), 2, 768)
    assert cost.module_parameters == count
    assert cost.deployed_parameters == count
    assert cost.head_parameters == 1_538


@pytest.mark.parametrize(("config", "count"), WHILE_TRAINING, ids=lambda value: str(value)[:40])
def test_reparametrised_prefix_is_counted_while_training_and_dropped_after(
    config: MethodConfig, count: int
) -> None:
    cost = cost_of(config, bert_base(), 2, 768)
    plain = cost_of(config.deployed(), bert_base(), 2, 768)
    assert cost.module_parameters == count
    assert cost.deployed_parameters == plain.module_parameters < count
    assert cost.stored_bytes == plain.stored_bytes


def logits_and_state(stack: Stack, batch: Batch) -> tuple[Tensor, State]:
    with stack.attached(), torch.no_grad():
        logits = stack.logits(batch)[0]
    return logits, stack.states()[0]


def head(state: State, hidden: Tensor, batch: Batch) -> Tensor:
    return linear(mean_of_tokens(hidden, batch.attention_mask), state["head.weight"], state["head.bias"])


def trained(backbone: Backbone, config: MethodConfig) -> Stack:
    """A candidate away from its start, so that no product is zero."""
    stack = Stack(backbone, [Candidate(replace(config, learning_rate=1e-2), 0)], CLASSES)
    train(stack, 5, "adamw")
    return stack


def test_methods_that_start_at_zero_leave_the_backbone_as_it_is(any_backbone: Backbone) -> None:
    batch = batch_of(any_backbone)
    plain = Stack(any_backbone, [Candidate(METHODS["linear_probe"](), 0)], CLASSES)
    expected, _ = logits_and_state(plain, batch)
    silent = [LoRAConfig(targets="all linear"), LoRAConfig(dora=True), BitFitConfig(), IA3Config()]
    for config in [*silent, LayerNormConfig(), VeRAConfig(), FullConfig()]:
        logits, _ = logits_and_state(Stack(any_backbone, [Candidate(config, 0)], CLASSES), batch)
        assert torch.allclose(logits, expected, atol=1e-6)


def test_our_attention_leaves_the_backbone_as_transformers_computes_it(any_backbone: Backbone) -> None:
    batch = batch_of(any_backbone)
    plain = T5EncoderModel if any_backbone.model_type == "t5" else AutoModel
    stock = plain.from_pretrained(
        any_backbone.folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    with torch.no_grad():
        ours = any_backbone.model(**inputs).last_hidden_state
        theirs = stock(**inputs).last_hidden_state
    real = batch.attention_mask.bool()
    assert torch.allclose(ours[real], theirs[real], atol=1e-5)


def test_bitfit_equals_a_model_whose_biases_were_moved(backbone: Backbone) -> None:
    stack, batch = trained(backbone, BitFitConfig()), batch_of(backbone)
    logits, state = logits_and_state(stack, batch)
    copy = AutoModel.from_pretrained(backbone.folder, dtype=torch.float32).eval()
    biases = {name: value for name, value in copy.named_parameters() if name.endswith("bias")}
    moved = {name.removesuffix(".bitfit.bias") + ".bias" for name in state if not name.startswith("head.")}
    assert moved == {name for name in biases if not name.startswith("pooler")}
    with torch.no_grad():
        for name in moved:
            biases[name] += state[name.removesuffix(".bias") + ".bitfit.bias"]
        hidden = copy(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    assert torch.allclose(logits, head(state, hidden, batch), atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        PrefixConfig(prefix_length=4, reparametrised=True, mlp_width=16, layers="top 1"),
        PrefixConfig(prefix_length=4, reparametrised=True, mlp_width=16, positions="shifted"),
        UniPELTConfig(modules="APL", reparametrised=True, prefix_length=4),
    ],
    ids=lambda config: f"{config.name} {config.layers}",
)
def test_network_that_made_a_prefix_is_dropped_without_a_change(
    config: MethodConfig, any_backbone: Backbone
) -> None:
    stack, state = away_from_its_start(any_backbone, config)
    batch = batch_of(any_backbone)
    ((settled, left),) = stack.deployed()
    logits, _ = logits_and_state(stack, batch)
    deployed = Stack(any_backbone, [Candidate(settled, 0)], CLASSES, [left])
    assert torch.allclose(logits_and_state(deployed, batch)[0], logits, atol=1e-6)
    assert sum(tensor.numel() for tensor in left.values()) < sum(tensor.numel() for tensor in state.values())
    assert not any("prefix_mlp" in name for name in left)
