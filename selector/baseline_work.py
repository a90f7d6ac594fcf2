"""What a worker does before the search: the pace of a training here, and the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import torch

from selector.candidate_memory import MAX_STACK
from selector.jobs import BaselineResult, Baselines, Bench, Calibration, Result
from trainers.backbone import Backbone
from trainers.baselines import BaselineScores, text_baselines
from trainers.calibration import can_calibrate, seconds_per_epoch
from trainers.cost import cost_of
from trainers.data import Data
from trainers.export import Module
from trainers.latency import measure_latency
from trainers.methods.linear_probe import LinearProbeConfig
from trainers.probe import linear_probe


def score_baselines(job: Baselines, bench: Bench, backbone: Backbone, data: Data) -> Iterator[Result]:
    """The calibration where one is asked for, then one result for each baseline."""
    if job.rungs and can_calibrate(backbone):
        # Without it there is only no estimate: what fails here will fail again where its trial can say so.
        with suppress(RuntimeError):
            yield _calibration(job.rungs, backbone, data)
    yield from map(_text_baseline, text_baselines(bench.task))
    with torch.no_grad():
        probe = linear_probe(backbone, data)
    config = LinearProbeConfig()
    cost = cost_of(config, backbone.sites, bench.task.outputs, backbone.hidden_size, backbone.head)
    yield BaselineResult(
        name=config.name,
        config={"strength": probe.strength},
        validation_logits=np.asarray(probe.validation_logits),
        test_logits=np.asarray(probe.test_logits),
        trainable_parameters=cost.trainable_parameters,
        stored_bytes=cost.stored_bytes,
        seconds=probe.seconds,
        module=Module(config, job.seed, probe.state).to_bytes(),
        module_logits=probe.module_logits,
        latency=measure_latency(backbone, data).to_json(),
        features={"separation": round(probe.separation, 4)},
    )


def _calibration(rungs: Sequence[float], backbone: Backbone, data: Data) -> Calibration:
    scores = len(rungs) / rungs[-1]
    # K folds train on all rows but their own, and one more training on all rows: K times all rows.
    times = data.task.fold_count
    alone = times * seconds_per_epoch(backbone, data, 1, scores)
    if backbone.device.type == "cpu":
        return Calibration(stacked=alone, alone=alone)  # there a stack gains nothing (docs/performance.md)
    return Calibration(stacked=times * seconds_per_epoch(backbone, data, MAX_STACK, scores), alone=alone)


def _text_baseline(scores: BaselineScores) -> BaselineResult:
    return BaselineResult(
        name=scores.name,
        config=scores.config,
        validation_logits=scores.validation_logits,
        test_logits=scores.test_logits,
        trainable_parameters=scores.trainable_parameters,
        stored_bytes=scores.stored_bytes,
        seconds=scores.seconds,
    )
