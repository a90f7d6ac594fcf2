"""Drop the modules of a mixture whose gates stay shut, and measure what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from trainers.backbone import Backbone
from trainers.building import build_stack
from trainers.export import ExportError, Module
from trainers.gates import GateWatch
from trainers.layout import Place
from trainers.stack import Candidate
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import Logits, logits_of
from trainers.truncation import HEAD


@dataclass(frozen=True)
class Pruned:
    """A module without the parts whose gates stay shut."""

    module: Module
    dropped: tuple[str, ...]
    """Such as `lora at query of layer 3`."""
    split: str
    """What the gates were read and the metrics taken on: validation; with folds train, where the module knows
    every row."""
    before: Mapping[str, float]
    """Metrics on that split, fp32, with all modules."""
    after: Mapping[str, float]
    logits: Logits
    """On that split, without the dropped modules."""

    def facts(self, threshold: float) -> dict[str, Any]:
        """What an export's manifest says of it."""
        return {
            "threshold": threshold,
            "dropped": list(self.dropped),
            f"{self.split}_before": dict(self.before),
            f"{self.split}_after": dict(self.after),
        }


def prune(
    module: Module,
    backbone: Backbone,
    task: Task,
    max_length: int,
    threshold: float,
    truncation: str = HEAD,
) -> Pruned:
    """Drop every module whose gate stays below `threshold` for all validation rows.

    A shut prefix gate still dilutes the attention by its slots, so dropping that module
    changes more than its gate tells; the metrics before and after are measured.

    Raises:
        ExportError: if the threshold is no share, or the module has no gates.
    """
    if not 0 < threshold < 1:
        raise ExportError(f"--prune-gates is {threshold:g}; give a number between 0 and 1, such as 0.1")
    plain = backbone.in_fp32
    validation = tokenise(task.validation, backbone.tokenizer, max_length, truncation)
    whole = build_stack(plain, [Candidate(module.config, module.seed)], task.outputs, [module.state])
    with whole.watching() as watch:
        before = logits_of(whole, validation)[0]
    shut = _shut(watch, threshold)
    if not watch.values(0):
        raise ExportError(f"this {module.config.name} has no gates to prune; leave --prune-gates out")
    gone = {name for place in shut for short, name in place.names.items() if short not in place.delta.shared}
    left = replace(module, state={n: t for n, t in module.state.items() if n not in gone})
    stack = build_stack(plain, whole.candidates, task.outputs, [left.state])
    after = logits_of(stack, validation)[0]
    return Pruned(
        module=left,
        dropped=tuple(_words(place) for place in shut),
        split="validation" if task.folds is None else "train",
        before=task.metrics(task.validation, before),
        after=task.metrics(task.validation, after),
        logits=after,
    )


def _shut(watch: GateWatch, threshold: float) -> list[Place]:
    return [place for place, value in watch.values(0) if bool(torch.all(value < threshold))]


def _words(place: Place) -> str:
    method = place.delta.kind.removeprefix("gated ").split()[0]
    return f"{method} at {place.site.role} of layer {place.site.layer}"
