"""Stacks whose modules begin above frozen layers: these run for each candidate, once, or never again.

    python benchmarks/cache.py [--data FOLDER] [--backbone NAME] [--device cuda] [--quick] [--json]

LoRA in some of the upper layers, three ways: the whole model for each candidate; the layers below all
modules once for a batch; or from what was kept of them. Then bracket-mates with modules in all layers and in
the upper ones only, side by side in one stack, or in one stack each. As in benchmarks/training.py contenders
take turns, a step is forward, backward, clipping and AdamW on one batch, and data and options are the same.
What is kept is made in the turn that does not count: `filling` says what that takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from measuring import Contender, alternate, as_json, ratio, speeds, table
from peers import Setting
from training import bucketed, facts_of, setting_of, setting_options

from trainers.backbone import Backbone
from trainers.batches import training_order
from trainers.building import build_stack
from trainers.kept_outputs import KeptOutputs
from trainers.method import MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.reusing import reusing
from trainers.stack import Candidate
from trainers.train import start

WHOLE, ONCE, KEPT = "whole model", "lower layers once", "lower layers kept"
APART, TOGETHER = "a stack each", "one stack"
SEED = 0


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    setting = setting_of(options)
    sizes = [int(size) for size in options.sizes.split(",")]
    layers = options.layers.split(",")
    contenders = {
        **{f"all layers, N = {size}": group(setting, [lora("all", size)]) for size in sizes},
        **{
            f"{some}, N = {size}, {way}": group(replace(setting, backbone=backbone), [lora(some, size)])
            for some in layers
            for size in sizes
            for way, backbone in ways(setting.backbone, size).items()
        },
        **{
            f"{size} of all layers and {size} of {some}, {way}": group(setting, groups)
            for some in layers
            for size in sizes
            for way, groups in side_by_side(some, size).items()
        },
    }
    seconds = alternate(contenders, options.repeats, lambda text: print(text, file=sys.stderr, flush=True))
    facts = {**facts_of(setting, options), "filling": filling(setting, layers)}
    rows = speeds(seconds)
    result: dict[str, Any] = {
        "facts": facts,
        "speeds": as_json(rows),
        "ratios": ratios(seconds, layers, sizes),
    }
    print(json.dumps(result) if options.json else told(result, table(rows, facts)))


def lora(layers: str, size: int) -> list[MethodConfig]:
    """Candidates with learning rates of their own."""
    return [LoRAConfig(layers=layers, learning_rate=1e-3 / (1 + place)) for place in range(size)]


def ways(backbone: Backbone, size: int) -> dict[str, Backbone]:
    """The same weights, run in one piece, or in two."""
    whole, once = replace(backbone), replace(backbone)
    whole.__dict__["lower_layers"] = None
    once.__dict__["kept_outputs"] = KeptOutputs(backbone.device, 0.0)
    found = {WHOLE: whole, ONCE: once, KEPT: backbone}
    return {way: one for way, one in found.items() if way != ONCE or size > 1}


def side_by_side(layers: str, size: int) -> dict[str, list[list[MethodConfig]]]:
    """As many candidates with modules in all layers as in some of them, in one stack, or in two."""
    return {
        TOGETHER: [[*lora("all", size), *lora(layers, size)]],
        APART: [lora("all", size), lora(layers, size)],
    }


def group(setting: Setting, groups: Sequence[Sequence[MethodConfig]]) -> Contender:
    """Training of stacks one after another, as a bracket trains them."""
    trainings = [
        start(
            setting.backbone,
            setting.data,
            [Candidate(config, seed) for seed, config in enumerate(configs)],
            epochs=1,
            seed=SEED,
            batch_size=setting.batch,
        )
        for configs in groups
    ]

    def run(repeat: int) -> float:
        order = bucketed(setting, repeat)
        begin = setting.clock.now()
        for training in trainings:
            with training.stack.attached():
                training.train_batches(order, 0, 10 * len(order))
        return (setting.clock.now() - begin) / (len(order) * sum(map(len, groups)))

    return run


def filling(setting: Setting, layers: Sequence[str]) -> dict[str, float]:
    """Layers -> seconds in which what lies below them is made for one batch."""
    found = {}
    rows = training_order(setting.data.train.lengths, setting.batch, SEED)
    for some in layers:
        backbone = replace(setting.backbone)
        stack = build_stack(backbone, [Candidate(LoRAConfig(layers=some), SEED)], setting.classes)
        begin = setting.clock.now()
        next(iter(reusing(stack, setting.data.train, rows)))
        found[some] = round((setting.clock.now() - begin) / len(rows), 5)
    return found


def ratios(seconds: dict[str, list[float]], layers: Sequence[str], sizes: Sequence[int]) -> dict[str, float]:
    """How many times as fast the shorter ways are."""
    found = {}
    for some in layers:
        for size in sizes:
            name = f"{some}, N = {size}"
            for way in (ONCE, KEPT):
                if f"{name}, {way}" in seconds:
                    found[f"{name}: {way} / {WHOLE}"] = ratio(seconds, f"{name}, {way}", f"{name}, {WHOLE}")
            both = f"{size} of all layers and {size} of {some}"
            found[f"{name}: {KEPT} / all layers"] = ratio(
                seconds, f"{name}, {KEPT}", f"all layers, N = {size}"
            )
            found[f"{both}: {APART} / {TOGETHER}"] = ratio(seconds, f"{both}, {APART}", f"{both}, {TOGETHER}")
    return found


def told(result: dict[str, Any], speeds_table: str) -> str:
    """The result as lines for people, to be pasted as they are."""
    return "\n".join([speeds_table, "", *(f"- {name}: {n:.2f}" for name, n in result["ratios"].items())])


def _options() -> argparse.Namespace:
    parser = setting_options(__doc__)
    parser.add_argument("--sizes", default="1,4", help="candidates in a stack")
    parser.add_argument("--layers", default="top half,top third,top 1", help="that carry modules")
    parser.add_argument("--quick", action="store_true", help="two repeats of three steps")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.steps = 2, 3
    return options


if __name__ == "__main__":
    main()
