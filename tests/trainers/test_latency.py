"""Latency: what is timed, and that a busy machine does not move the ratio."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny import CLASSES, data_of, task_of_kind

from trainers.backbone import Backbone
from trainers.building import build_stack
from trainers.latency import (
    BLOCK_SECONDS,
    LEAST_PAIRS,
    SECONDS,
    WARM_UP,
    alternating,
    measure_latency,
)
from trainers.method import METHODS
from trainers.stack import Candidate


class Machine:
    """Things that take a known time, on a machine whose slowness is given run by run."""

    def __init__(self, slowness: list[float]) -> None:
        self.slowness = slowness
        self.order: list[str] = []

    def runs(self, name: str, seconds: float):  # noqa: ANN201
        def run(times: int) -> float:
            self.order.append(name)
            return times * seconds * self.slowness[min(len(self.order), len(self.slowness)) - 1]

        return run


def test_module_and_plain_backbone_run_in_alternation() -> None:
    machine = Machine([1.0])
    ms, plain_ms, ratio = alternating(machine.runs("module", 0.012), machine.runs("plain", 0.010))
    assert (ms, plain_ms, ratio) == pytest.approx((12.0, 10.0, 1.2))
    assert machine.order == ["module", "plain"] * (len(machine.order) // 2)


def test_slow_first_runs_are_not_counted() -> None:
    machine = Machine([100.0] * 2 * WARM_UP + [1.0])
    assert alternating(machine.runs("module", 0.012), machine.runs("plain", 0.010))[0] == pytest.approx(12.0)


def test_ratio_survives_a_machine_that_is_busy_half_of_the_time() -> None:
    chance = np.random.default_rng(0)
    slowness = np.repeat(chance.choice([1.0, 7.0], 50), 2).tolist()  # pairs meet the same load
    machine = Machine(slowness)
    assert alternating(machine.runs("module", 0.0013), machine.runs("plain", 0.001))[2] == pytest.approx(1.3)


@pytest.mark.parametrize("seconds", [10.0, 0.03, 1e-3, 1e-5])
def test_a_measurement_is_short_and_each_block_outlasts_a_turn_of_the_processor(seconds: float) -> None:
    machine, blocks = Machine([1.0]), []

    def plain(times: int) -> float:
        blocks.append(times * seconds)
        return machine.runs("plain", seconds)(times)

    alternating(machine.runs("module", seconds), plain)
    timed = blocks[WARM_UP:]
    assert LEAST_PAIRS <= len(timed)
    assert min(timed) >= BLOCK_SECONDS * 0.999
    assert sum(timed) <= max(SECONDS, LEAST_PAIRS * seconds) * 1.001


@pytest.mark.parametrize("method", ["lora", "prefix", "prompt", "unipelt", "full"])
def test_a_module_is_timed_at_the_median_length_and_the_backbone_is_left_as_it_was(
    backbone: Backbone, method: str
) -> None:
    data = data_of(backbone, task_of_kind("classification", 21, 6, 6))
    stack = build_stack(backbone, [Candidate(METHODS[method](), 0)], CLASSES)
    (module,) = stack.deployed()
    hooks = sum(len(part._forward_hooks) for part in backbone.model.modules())
    found = measure_latency(backbone, data, module)
    assert found.tokens == int(np.median(data.train.lengths))
    assert (found.device, found.form) == ("cpu", "hooks")
    assert min(found.ms, found.plain_ms, found.batch_ms, found.plain_batch_ms) > 0
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
    assert sum(len(part._forward_hooks) for part in backbone.model.modules()) == hooks
    assert torch.is_grad_enabled()


def test_without_a_module_the_backbone_is_its_own_unit(backbone: Backbone) -> None:
    found = measure_latency(backbone, data_of(backbone, task_of_kind("token-classification", 21, 6, 6)))
    assert (found.ratio, found.batch_ratio) == (1.0, 1.0)
    assert found.ms == found.plain_ms > 0
