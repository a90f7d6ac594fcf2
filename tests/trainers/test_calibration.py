"""The pace that is measured before a search: what is timed, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tiny import data_of, sentences, task_of

from trainers import calibration
from trainers.backbone import Backbone
from trainers.batches import training_order
from trainers.calibration import STEPS, seconds_per_epoch, spread
from trainers.train import Training


def test_batches_that_are_timed_stand_for_short_and_long_ones(backbone: Backbone) -> None:
    tokens = data_of(backbone, task_of(*(sentences(160, seed) for seed in range(3)))).train
    order = training_order(tokens.lengths, 16, 0)
    longest = sorted(int(tokens.lengths[rows].max()) for rows in order)
    found = [int(tokens.lengths[rows].max()) for rows in spread(order, tokens, 5)]
    assert found == longest[1::2]  # of ten batches every second
    assert len(spread(order, tokens, 99)) == len(order)


def test_pace_is_that_of_batches_which_have_run_before(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    data = data_of(backbone, task_of(sentences(160), *(sentences(40, seed) for seed in (1, 2))))
    seen: list[str] = []
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: now[0])

    def taking(seconds: float, name: str, run: Callable[..., object]) -> Callable[..., object]:
        def timed(*given: object) -> object:
            now[0] += 100.0 if name not in seen else seconds  # the first run takes much longer
            seen.append(name)
            return run(*given)

        return timed

    monkeypatch.setattr(Training, "train_batches", taking(2.0, "train", Training.train_batches))
    monkeypatch.setattr(calibration, "logits_of", taking(1.0, "score", lambda stack, tokens: np.empty(0)))
    pace = seconds_per_epoch(backbone, data, candidates=2, scores=0.25)
    batches = len(data.train) / 16
    assert pace == pytest.approx((2.0 * batches / STEPS + 0.25 * 1.0) / 2)
    assert seen == ["train"] * 2 + ["score"] * 2
