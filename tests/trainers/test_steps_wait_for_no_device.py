"""A training step asks its device for no number: a GPU would stand still while the CPU waits for it.

Tensors on torch's `meta` device have shapes and no numbers, so that asking for one raises, and so does
most arithmetic between tensors on it and on the CPU. This needs no GPU, and does not replace one.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from forms_of_methods import FORMS, variants
from tiny import CLASSES, batch_of, moved

from trainers.backbone import Backbone
from trainers.batches import Batch
from trainers.heads import losses
from trainers.layout import places_of
from trainers.methods.lora import LoRAConfig
from trainers.optim import AdamW, schedule
from trainers.rows import Rows
from trainers.stack import Candidate, Stack

META = torch.device("meta")
ASKED_BY_TRANSFORMERS = ("mpnet", "deberta-v2")
"""Families with a mask that transformers leaves out where nothing is padded, for which it looks."""


def step(stack: Stack, batch: Batch) -> None:
    """As `trainers.train` takes it."""
    configs = [candidate.config for candidate in stack.candidates]
    rates, decays = [c.learning_rate for c in configs], [c.weight_decay for c in configs]
    optimizer = AdamW(stack.parameters.shape, rates, decays, stack.rates()).to(META)
    factors = schedule(10, [config.warmup for config in configs]).to(META)
    with stack.attached():
        logits = stack.logits(batch, training=True)
        loss = losses(logits, batch.labels)
        goal = loss if stack.penalty is None else loss + stack.penalty
        (gradient,) = torch.autograd.grad(goal.sum(), stack.parameters)
        optimizer.step(stack.parameters, gradient, factors[3])
    assert logits.device == gradient.device == META and logits.shape[0] == len(stack)


def test_a_step_of_every_form_of_every_method_reads_nothing_back(any_backbone: Backbone) -> None:
    if any_backbone.model_type in ASKED_BY_TRANSFORMERS:
        pytest.skip("transformers reads the mask of this family back, once a step")
    backbone = replace(any_backbone, model=copy.deepcopy(any_backbone.model).to(META))
    batch = moved(batch_of(any_backbone), META)
    for form in FORMS:
        # Chance has generators on a device, and there are none on this one.
        configs = [one for one in variants(form) if not one.uses_chance]
        step(Stack(backbone, [Candidate(one, i) for i, one in enumerate(configs)], CLASSES), batch)


def test_what_decides_about_dropout_stays_on_the_cpu(backbone: Backbone) -> None:
    elsewhere = replace(backbone, model=copy.deepcopy(backbone.model).to(META))
    placed = [LoRAConfig(dropout=share).placed(backbone.sites) for share in (0.1, 0.0)]
    for place in places_of(placed, elsewhere):
        assert place.constants["dropout"].device.type == "cpu" and place.constants["scale"].device == META
    rows, x = (
        Rows(torch.ones(2, 3, dtype=torch.bool), [torch.Generator()] * 2),
        torch.ones(2, 6, 4, device=META),
    )
    assert rows.dropout(x, torch.zeros(2)) is x


def test_asking_for_a_number_and_adding_what_is_elsewhere_raise_here() -> None:
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        bool(torch.ones(2, device=META).any())
    with pytest.raises(RuntimeError):
        torch.ones(2, device=META) + torch.ones(2)
