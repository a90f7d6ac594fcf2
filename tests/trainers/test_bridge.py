"""peft's methods as candidates: peft's own models, trained by plain torch, are the oracle."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, PeftModelForFeatureExtraction, PeftType
from tiny import CLASSES, batch_of, data_of, sentences, task_of, train
from torch import nn
from torch.nn.functional import cross_entropy

from trainers import naming
from trainers.backbone import Backbone, load
from trainers.batches import Batch, batches, training_order
from trainers.bridge import KINDS, LEFT_OUT
from trainers.building import build_stack, cost_of_stack, costs_on, method_named
from trainers.data import Data
from trainers.export import ExportError, Module, module_from_bytes
from trainers.fidelity import Fidelity
from trainers.heads import losses
from trainers.optim import MAX_NORM, schedule
from trainers.peft_stack import PeftError, PeftStack
from trainers.stack import Candidate
from trainers.train import Training, start

DECODERS_ONLY = ["ADAPTION_PROMPT", "SHADOW"]
"""peft looks for a stack of decoder layers."""
ENCODERS = ("albert", "bert", "deberta-v2", "distilbert", "electra", "mpnet", "roberta", "t5", "xlm-roberta")
NOT_ON = {
    "ADAPTION_PROMPT": (*ENCODERS, "modernbert", "opt", "qwen2", "qwen3"),
    "OFT": ("gpt2",),
    "PREFIX_TUNING": ("albert", "deberta-v2", "distilbert", "modernbert", "mpnet", "t5"),
    "SHADOW": ENCODERS,
}
"""Families that peft does not know, that have `Conv1D` modules, that take no past keys and values, and that
have no list of decoder layers."""
ON_ENCODERS = sorted(KINDS.keys() - set(DECODERS_ONLY))
EPOCHS = 4


def candidate(kind: str, seed: int = 1, **values: object) -> Candidate:
    return Candidate(method_named(f"peft:{kind}").from_values(values), seed)


def stack_of(kind: str, backbone: Backbone, **values: object) -> PeftStack:
    stack = build_stack(backbone, [candidate(kind, **values)], CLASSES)
    assert isinstance(stack, PeftStack)
    return stack


def films(backbone: Backbone) -> Data:
    held_out = sentences(20, seed=1)
    return data_of(backbone, task_of(sentences(40), held_out, held_out))


def test_every_type_of_peft_is_offered_or_left_out_with_a_reason() -> None:
    assert sorted([*KINDS, *LEFT_OUT]) == sorted(kind.value for kind in PeftType)


@pytest.mark.parametrize("kind", ON_ENCODERS)
def test_a_type_trains_counts_and_reloads_and_leaves_the_backbone_alone(
    kind: str, backbone: Backbone
) -> None:
    before = backbone.weight_hash
    stack, batch = stack_of(kind, backbone), batch_of(backbone)
    with torch.no_grad():
        untrained = stack.logits(batch)
    (first,), (last,) = stack.states(), train(stack, 2, "adamw")
    assert all(not torch.equal(first[name], last[name]) for name in stack.shapes[0])
    with torch.no_grad():
        trained = stack.logits(batch)
    assert not torch.allclose(trained, untrained, atol=1e-3)

    config = stack.candidates[0].config
    module = module_from_bytes(Module(config, 1, last).to_bytes())
    again = build_stack(backbone, [Candidate(module.config, 99)], CLASSES, [module.state])
    with torch.no_grad():
        assert torch.equal(again.logits(batch), trained)

    peft_model = stack._built.model
    cost = cost_of_stack(stack)
    assert cost.module_parameters == peft_model.get_nb_trainable_parameters()[0]
    assert cost.stored_bytes == sum(t.numel() * t.element_size() for t in last.values())
    assert costs_on(str(backbone.folder), CLASSES)(config) == cost

    del backbone.__dict__["weight_hash"]
    assert backbone.weight_hash == before


@pytest.mark.parametrize("kind", ON_ENCODERS)
def test_a_type_has_the_gradients_that_peft_gives_it(kind: str, backbone: Backbone) -> None:
    stack, batch = stack_of(kind, backbone), batch_of(backbone)
    loss = losses(stack.logits(batch), batch.labels) + stack.penalty
    (rows,) = torch.autograd.grad(loss.sum(), stack.parameters)
    (ours,) = stack.unpack(rows)

    peft_model = stack._built.model
    options = {"task_ids": torch.zeros(len(batch), dtype=torch.long)} if kind == "POLY" else {}
    features, penalty = features_of(peft_model, batch, **options)
    (state,) = stack.states()
    (cross_entropy(features @ state["head.weight"].T, batch.labels) + penalty).backward()
    for name, parameter in peft_model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(ours[name], parameter.grad, rtol=1e-4, atol=1e-7), name


@pytest.mark.parametrize(
    "kind", ["LORA", "PROMPT_TUNING", "PREFIX_TUNING", "OFT", "SHADOW", "ADAPTION_PROMPT"]
)
def test_types_run_on_every_family_or_say_why_not(kind: str, any_backbone: Backbone) -> None:
    family = any_backbone.model_type
    if family in NOT_ON.get(kind, ()):
        with pytest.raises(PeftError, match=f"peft:{kind} does not run on a backbone of family {family}: "):
            stack_of(kind, any_backbone).logits(batch_of(any_backbone))
        return
    stack = stack_of(kind, any_backbone)
    train(stack, 3, "adamw")
    with torch.no_grad():
        together = stack.logits(batch_of(any_backbone))[0]
        for row in range(6):
            alone = stack.logits(batch_of(any_backbone, slice(row, row + 1)))[0, 0]
            assert torch.allclose(alone, together[row], atol=1e-5)


@pytest.mark.parametrize("kind", ["ADALORA", "ADAMSS", "LN_TUNING", "LORA", "OSF", "PREFIX_TUNING", "VERA"])
def test_on_a_bf16_backbone_the_module_is_the_same_and_stays_fp32(kind: str, backbone: Backbone) -> None:
    half = stack_of(kind, load(str(backbone.folder), dtype="bf16"))
    (start,), (full,) = half.states(), stack_of(kind, backbone).states()
    assert all(torch.equal(start[name], full[name]) for name in full)
    train(half, 2, "adamw")
    assert half.parameters.dtype == torch.float32
    batch = batch_of(backbone)
    with torch.no_grad():
        assert torch.allclose(half.on(half.backbone.in_fp32).logits(batch), half.logits(batch), atol=0.05)


# ---------------------------------------------------------------------- peft in a plain torch loop


def features_of(model: nn.Module, batch: Batch, **options: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the tokens' last hidden states, and peft's penalty."""
    outputs = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **options)
    weights = batch.attention_mask.unsqueeze(-1)
    hidden = outputs.last_hidden_state[:, -batch.input_ids.shape[1] :]
    return (hidden * weights).sum(1) / weights.sum(1), outputs.loss


class Classifier(nn.Module):
    """A transformer with a head and a loss, as peft expects of a model that is trained on labels."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = copy.deepcopy(backbone.model)
        self.config = self.model.config
        self.head = nn.Linear(backbone.hidden_size, CLASSES)

    def forward(self, batch: Batch) -> object:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = batch.token_type_ids
        outputs = self.model(**inputs)
        weights = batch.attention_mask.unsqueeze(-1)
        features = (outputs.last_hidden_state * weights).sum(1) / weights.sum(1)
        outputs.loss = cross_entropy(self.head(features), batch.labels)
        return outputs


def training_batches(data: Data) -> Iterator[Batch]:
    for epoch in range(EPOCHS):
        order = training_order(data.train.lengths, 16, epoch)
        yield from batches(data.train, order, 0, torch.device("cpu"))


def oracle(config: LoraConfig, training: Training, tuner_of: object = None) -> PeftModel:
    """Trained by peft, `torch.optim.AdamW` and `clip_grad_norm_`, from the same first weights."""
    stack = training.stack
    classifier = Classifier(stack.backbone)
    model = PeftModelForFeatureExtraction(classifier, config).eval()
    (state,) = stack.states()
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(state[name])
        classifier.head.weight.copy_(state["head.weight"])
        classifier.head.bias.copy_(state["head.bias"])
    head = [p.requires_grad_() for p in classifier.head.parameters()]
    trained = [*named.values(), *head]
    rate = stack.candidates[0].config.learning_rate
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    steps = list(training_batches(training.data))
    factors = schedule(len(steps), [0.06]).flatten().tolist()
    for step, batch in enumerate(steps):
        optimizer.param_groups[0]["lr"] = rate * factors[step]
        model.base_model(batch).loss.backward()
        nn.utils.clip_grad_norm_(trained, MAX_NORM)
        optimizer.step()
        if isinstance(config, AdaLoraConfig):
            model.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    return model


def assert_equal_weights(training: Training, model: PeftModel) -> None:
    (state,) = training.stack.states()
    named = {name: p for name, p in model.named_parameters() if "lora_" in name}
    assert len(named) >= 8
    for name, parameter in named.items():
        assert torch.allclose(state[name], parameter, atol=1e-4), name
    head = model.base_model.model.head
    assert torch.allclose(state["head.weight"], head.weight, atol=1e-4)


def test_lora_trains_to_the_weights_that_a_plain_loop_gives_it(backbone: Backbone) -> None:
    one = candidate("LORA", r=4, lora_alpha=8.0, learning_rate=1e-2)
    training = start(backbone, films(backbone), [one], epochs=EPOCHS, seed=0)
    targets = ["query", "value"]
    config = LoraConfig(task_type="FEATURE_EXTRACTION", r=4, lora_alpha=8, target_modules=targets)
    model = oracle(config, training)
    training.advance(Fidelity(epochs=EPOCHS))
    assert_equal_weights(training, model)


def test_adalora_drops_ranks_down_to_its_target_as_in_a_plain_loop(backbone: Backbone) -> None:
    one = candidate("ADALORA", target_r=4, lora_alpha=8.0, learning_rate=1e-2)
    training = start(backbone, films(backbone), [one], epochs=EPOCHS, seed=0)
    config = AdaLoraConfig(
        task_type="FEATURE_EXTRACTION",
        target_r=4,
        init_r=6,
        lora_alpha=8,
        target_modules=["query", "value"],
        total_step=12,
        tinit=1,
        tfinal=6,
    )
    model = oracle(config, training)
    for epochs in (0.5, 1, EPOCHS):  # with halts on the way
        training.advance(Fidelity(epochs=epochs))
    assert_equal_weights(training, model)
    (state,) = training.stack.states()
    kept = {name: int((t != 0).sum()) for name, t in state.items() if "lora_E" in name}
    assert sum(kept.values()) == 4 * len(kept)
    assert max(kept.values()) > 4  # ranks have moved between the modules


# --------------------------------------------------------------------------------------- the rest


def test_chance_is_the_same_again_when_a_training_is_repeated_in_steps(backbone: Backbone) -> None:
    states = []
    for stops in [(3,), (0.25, 1, 2.5, 3)]:
        one = candidate("PVERA", r=16)  # it samples in training
        training = start(backbone, films(backbone), [one], epochs=3, seed=0)
        torch.rand(1)
        for epochs in stops:
            training.advance(Fidelity(epochs=epochs))
        states += training.stack.states()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_types_that_share_by_name_are_given_names_that_repeat(backbone: Backbone) -> None:
    names = stack_of("LILY", backbone)._built.model.active_peft_config.target_modules
    assert names == {"attention.self.query", "attention.self.value"}
    # `output.dense` would also fit `attention.output.dense`, which carries no (IA)^3 vector.
    whole = stack_of("IA3", backbone)._built.model.active_peft_config.target_modules
    assert "encoder.layer.1.output.dense" in whole and not any("attention.output" in name for name in whole)


@pytest.mark.parametrize("kind", DECODERS_ONLY)
def test_a_type_that_cannot_run_says_so_in_one_line(kind: str, backbone: Backbone) -> None:
    with pytest.raises(PeftError, match=f"^peft:{kind} does not run on a backbone of family bert: ") as told:
        stack_of(kind, backbone)
    assert "\n" not in str(told.value)
    assert costs_on(str(backbone.folder), CLASSES)(candidate(kind).config) is None


@pytest.mark.parametrize("kind", ["LORA", "PROMPT_TUNING", "PREFIX_TUNING"])
def test_the_second_text_of_a_pair_is_told_from_the_first(kind: str, backbone: Backbone) -> None:
    stack, batch = stack_of(kind, backbone), batch_of(backbone)
    pairs = replace(batch, token_type_ids=batch.attention_mask.clone())
    with torch.no_grad():
        assert not torch.allclose(stack.logits(batch), stack.logits(pairs), atol=1e-3)


def test_a_prompt_that_does_not_fit_beside_the_longest_text_is_refused(backbone: Backbone) -> None:
    stack = stack_of("PROMPT_TUNING", backbone, num_virtual_tokens=60)
    with pytest.raises(PeftError, match=r"\d+ positions are needed for tokens and prompt together"):
        stack.logits(batch_of(backbone))


def test_names_are_read_in_any_case_and_wrong_ones_answered_with_the_possible_ones() -> None:
    assert method_named("peft:oft") is method_named("peft:OFT")
    assert method_named("peft:OFT").name == "peft:OFT"
    with pytest.raises(
        ValueError, match=r"'peft:LORRA' is unknown; of peft's methods there are peft:ADALORA"
    ):
        method_named("peft:LORRA")
    with pytest.raises(ValueError, match=r"peft:XLORA cannot be searched: it mixes LoRA modules that were"):
        method_named("peft:XLORA")


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"run by peft, which is not installed; .*pip install 'peltier\[peft\]'"
    ):
        method_named("peft:OFT")


def test_an_export_that_needs_peft_says_so_where_it_is_missing(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Module(candidate("BEFT").config, 1, stack_of("BEFT", backbone).states()[0]).to_bytes()
    monkeypatch.setattr(naming, "find_spec", lambda name: None)
    with pytest.raises(
        ExportError, match=r"cannot be used here: method peft:BEFT is run by peft, which is not"
    ):
        module_from_bytes(stored)


def test_a_stack_of_peft_holds_one_candidate(backbone: Backbone) -> None:
    two = [candidate("OFT"), candidate("OFT", seed=2)]
    assert two[0].config.alone
    with pytest.raises(ValueError, match="one candidate at a time, not 2"):
        build_stack(backbone, two, CLASSES)


def test_a_state_of_other_tensors_is_refused(backbone: Backbone) -> None:
    (state,) = stack_of("LORA", backbone, r=4).states()
    with pytest.raises(PeftError, match="the stored tensors are not those that this version of peft makes"):
        build_stack(backbone, [candidate("LORA", r=8)], CLASSES, [state])
