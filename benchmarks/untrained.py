"""Modules that were not trained, and rows to ask them: for the tables of exports."""

from __future__ import annotations

import numpy as np
import torch

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.building import build_stack
from trainers.export import Exported, Module, exported
from trainers.method import MethodConfig
from trainers.stack import Candidate
from trainers.task import Split, Task

LABELS, LENGTH, ROWS = ("bad", "fine", "good"), 32, 64
WORDS = (
    "the a is was not very good bad great awful film plot actor music we they it love hate boring moving "
    "slow fast kind cruel warm cold happy sad bright dull"
).split()
NOISE = 0.02
"""Standard deviation of what every number is moved by."""


def task() -> Task:
    """Random sentences with three labels."""
    chance = np.random.default_rng(0)
    texts = tuple(" ".join(chance.choice(WORDS, chance.integers(2, 25))) for _ in range(ROWS))
    rows = Split(texts, None, chance.integers(0, len(LABELS), ROWS))
    return Task(
        name="sentences",
        kind="classification",
        text="text",
        text_pair=None,
        label="label",
        labels=LABELS,
        metric="accuracy",
        train=rows,
        validation=rows,
        test=rows,
        origin=dict.fromkeys(("train", "validation", "test"), "given"),
        data_hash="0" * 64,
    )


def export_of(backbone: Backbone, config: MethodConfig, rows: Task) -> Exported:
    """A module away from its start, as it would be loaded from its native export."""
    chance = torch.Generator().manual_seed(1)
    first = build_stack(backbone, [Candidate(config, 0)], rows.outputs)
    (state,) = first.states()
    moved = {
        name: value + NOISE * torch.randn(value.shape, generator=chance)
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }
    ((settled, left),) = build_stack(backbone, first.candidates, rows.outputs, [moved]).deployed()
    return exported(Module(settled, 0, left), backbone, rows, LENGTH, "head")
