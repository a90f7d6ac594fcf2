"""UniPELT, simplified: every gate replaced by its mean over the training rows, so that it is a plain sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainers.backbone import Backbone
from trainers.building import build_stack
from trainers.export import ExportError, Module
from trainers.fidelity import Gate
from trainers.gates import GateWatch
from trainers.gating import GatedDelta, GatedKeyValueDelta
from trainers.layout import State, full_name
from trainers.methods.lora import LoRADelta
from trainers.methods.unipelt import UniPELTConfig
from trainers.sites import Site
from trainers.stack import Candidate, Stack
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import Logits, logits_of
from trainers.trained import Trained
from trainers.truncation import HEAD

SCALED: Mapping[str, frozenset[str]] = {
    "adapter": frozenset({"up.weight", "up.bias"}),
    "prefix": frozenset({"keys", "values"}),
    "lora": frozenset({"b"}),
    "bitfit": frozenset({"bias"}),
    "ia3": frozenset({"scale"}),
}
"""Kind of a module -> the tensors that multiply its change when they are multiplied."""


@dataclass(frozen=True)
class Simplified:
    """A mixture without gates, and what that costs."""

    module: Module
    gates: tuple[Gate, ...]
    """What each gate was replaced by: its mean over the training rows, beside its deviation there."""
    split: str
    """What the metrics were taken on: validation; with folds train, where the module knows every row."""
    before: Mapping[str, float]
    """Metrics on that split, fp32, with gates."""
    after: Mapping[str, float]
    logits: Logits
    """On that split, without gates."""

    def facts(self) -> dict[str, Any]:
        """What an export's manifest says of it."""
        return {
            "gates": [
                {"layer": gate.layer, "module": gate.module, "role": gate.role, "mean": gate.mean}
                for gate in self.gates
            ],
            f"{self.split}_before": dict(self.before),
            f"{self.split}_after": dict(self.after),
        }


def simplify(
    module: Module, backbone: Backbone, task: Task, max_length: int, truncation: str = HEAD
) -> Simplified:
    """Replace every gate by its mean over the training rows, folded into the module behind it.

    LoRA's goes into B, the adapter's into its way up, the prefix's into keys and values; what is left is the
    same mixture with `gates` none. Exact where a gate gives every text the same value; the metrics before
    and after say what it costs elsewhere.

    Raises:
        ExportError: if the module has no gates.
    """
    plain = backbone.in_fp32
    gated = build_stack(plain, [Candidate(module.config, module.seed)], task.outputs, [module.state])
    train, validation = (
        tokenise(split, backbone.tokenizer, max_length, truncation) for split in (task.train, task.validation)
    )
    with gated.watching() as watch:
        logits_of(gated, train)
    if not isinstance(module.config, UniPELTConfig) or not watch.values(0):
        raise ExportError(f"this {module.config.name} has no gates to simplify; leave --simplify-gates out")
    assert isinstance(gated, Stack)
    config = replace(module.config, gates="none")
    left = Module(config, module.seed, _folded(module.state, config, gated, watch))
    stack = build_stack(plain, [Candidate(left.config, left.seed)], task.outputs, [left.state])
    before, after = (logits_of(each, validation)[0] for each in (gated, stack))
    return Simplified(
        module=left,
        gates=watch.gates(0),
        split="validation" if task.folds is None else "train",
        before=task.metrics(task.validation, before),
        after=task.metrics(task.validation, after),
        logits=after,
    )


def _folded(state: State, config: UniPELTConfig, gated: Stack, watch: GateWatch) -> State:
    """The tensors of the mixture without gates, whose configuration is given."""
    (placed,) = gated.placed
    means = {_key(place.site, place.delta): float(value.mean()) for place, value in watch.values(0)}
    ungated = {_key(site, delta): delta for site, delta in config.placed(gated.backbone.sites)}
    found = {name: tensor for name, tensor in state.items() if name.startswith("head.")}
    for site, delta in placed:
        inner = delta.inner if isinstance(delta, GatedDelta | GatedKeyValueDelta) else delta
        after = ungated[_key(site, inner)]
        # A module without a gate is the same afterwards, and its factor 1.
        factor = means.get(_key(site, delta), 1.0) * _scale(inner) / _scale(after)
        for short in inner.shapes():
            tensor = state[full_name(site, delta, short)]
            scaled = short in SCALED.get(inner.kind, ())
            found[full_name(site, after, short)] = tensor * factor if scaled else tensor
    return found


def _key(site: Site, delta: Trained) -> tuple[Site, str]:
    return site, delta.kind


def _scale(delta: Trained) -> float:
    """LoRA's constant scale; with a gate it is 1, without one alpha/rank."""
    return delta.scale if isinstance(delta, LoRADelta) else 1.0
