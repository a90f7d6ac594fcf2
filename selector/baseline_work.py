"""What a worker does before the search: score what needs no training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from selector.jobs import BaselineResult, Baselines, Bench
from trainers.backbone import Backbone
from trainers.baselines import BaselineScores, text_baselines
from trainers.cost import cost_of
from trainers.data import Data
from trainers.export import Module
from trainers.latency import measure_latency
from trainers.methods.linear_probe import LinearProbeConfig
from trainers.probe import linear_probe


def score_baselines(job: Baselines, bench: Bench, backbone: Backbone, data: Data) -> Iterator[BaselineResult]:
    """One result for each baseline."""
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
