"""Inference latency of one candidate, beside the plain backbone, on the machine that runs it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from trainers.backbone import Backbone
from trainers.batches import Batch, batches
from trainers.building import AnyStack, build_stack
from trainers.data import Data
from trainers.method import MethodConfig
from trainers.methods.linear_probe import LinearProbeConfig
from trainers.stack import Candidate, State
from trainers.tokens import Tokens

BATCH = 32
WARM_UP = 2
"""Pairs that run before anything is timed: memory is laid out and kernels are chosen there."""
BLOCK_SECONDS = 0.02
"""Runs that are timed together last about so long: several turns of a busy processor. Single runs of a tiny
model, timed on a machine with four processes a core, gave ratios that were wrong by a factor of ten."""
LEAST_PAIRS = 5
SECONDS = 0.5
"""After so long no further pair is timed, unless there are too few."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds from tokens to logits, medians, for texts of the task's median length.

    A module runs as its native export does: with hooks, on the backbone in fp32 (or quantised). Each run is
    followed by one of the plain backbone with a head, so that both meet the same busy machine; a ratio is
    the median over these pairs.
    """

    ms: float
    """One text."""
    plain_ms: float
    ratio: float
    """One text, in units of the plain backbone."""
    batch_ms: float
    """`BATCH` texts at once, all together."""
    plain_batch_ms: float
    batch_ratio: float
    tokens: int
    """Length of the texts."""
    device: str
    """Such as cpu or cuda."""
    form: str = "hooks"

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the store keeps them."""
        return asdict(self)


@torch.no_grad()
def measure_latency(
    backbone: Backbone, data: Data, module: tuple[MethodConfig, State] | None = None
) -> Latency:
    """Time a trained module; without one the plain backbone with a head, which is then its own unit."""
    plain = _stack(backbone, data, LinearProbeConfig(), None)
    stack = plain if module is None else _stack(backbone, data, *module)
    tokens = _median_row(data.train)
    found: dict[str, Any] = {}
    for texts, name in ((1, ""), (BATCH, "batch_")):
        batch = _batch(tokens, texts, plain.backbone)
        ms, plain_ms, ratio = alternating(_timed(stack, batch), _timed(plain, batch))
        found |= {f"{name}ms": ms, f"plain_{name}ms": plain_ms, f"{name}ratio": ratio}
    if module is None:
        found |= {
            "plain_ms": found["ms"],
            "plain_batch_ms": found["batch_ms"],
            "ratio": 1.0,
            "batch_ratio": 1.0,
        }
    return Latency(**found, tokens=len(tokens.ids), device=backbone.device.type)


def alternating(run: Callable[[int], float], plain: Callable[[int], float]) -> tuple[float, float, float]:
    """`(ms, plain_ms, ratio)` of two things that run so many times and say how many seconds that took.

    Medians over blocks in alternation. A machine that is busy for a while slows neighbours alike, so the
    median of their ratios stays.
    """
    fastest = min((run(1), plain(1))[1] for _ in range(WARM_UP))
    times = max(1, math.ceil(BLOCK_SECONDS / fastest))
    taken: list[tuple[float, float]] = []
    while len(taken) < LEAST_PAIRS or sum(map(sum, taken)) < SECONDS:
        taken.append((run(times), plain(times)))
    return (
        1000 * median(one for one, _ in taken) / times,
        1000 * median(other for _, other in taken) / times,
        median(one / other for one, other in taken),
    )


def _stack(backbone: Backbone, data: Data, config: MethodConfig, state: State | None) -> AnyStack:
    states = None if state is None else [state]
    return build_stack(backbone.in_fp32, [Candidate(config, 0)], data.task.outputs, states)


def _median_row(tokens: Tokens) -> Tokens:
    middle = np.argsort(tokens.lengths, kind="stable")[len(tokens) // 2]
    return tokens.take(np.array([middle]))


def _batch(row: Tokens, texts: int, backbone: Backbone) -> Batch:
    order = [np.zeros(texts, np.int64)]
    (batch,) = batches(row, order, backbone.pad_token_id, backbone.device)
    return batch


def _timed(stack: AnyStack, batch: Batch) -> Callable[[int], float]:
    def run(times: int) -> float:
        with stack.attached():  # once for a module in use, so not a part of the time
            start = time.perf_counter()
            for _ in range(times):
                stack.logits(batch).cpu()  # waits for the device
            return time.perf_counter() - start

    return run
