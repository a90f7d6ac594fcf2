"""What a worker does before anything else: find out how fast a module trains here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from selector.candidate_memory import MAX_STACK
from selector.jobs import Calibration
from trainers.backbone import Backbone
from trainers.calibration import can_calibrate, seconds_per_epoch
from trainers.data import Data


def calibrated(rungs: Sequence[float], backbone: Backbone, data: Data) -> Iterator[Calibration]:
    """The pace in brackets with these rungs; nothing where no module can be trained."""
    if can_calibrate(backbone):
        # Without it there is only no estimate: what fails here will fail again where its trial can say so.
        with suppress(RuntimeError):
            yield _calibration(rungs, backbone, data)


def _calibration(rungs: Sequence[float], backbone: Backbone, data: Data) -> Calibration:
    scores = len(rungs) / rungs[-1]
    # K folds train on all rows but their own, and one more training on all rows: K times all rows.
    times = data.task.fold_count
    alone = times * seconds_per_epoch(backbone, data, 1, scores)
    if backbone.device.type == "cpu":
        return Calibration(stacked=alone, alone=alone)  # there a stack gains little (docs/performance.md)
    return Calibration(stacked=times * seconds_per_epoch(backbone, data, MAX_STACK, scores), alone=alone)
