"""Whether the logits of a reloaded module are those of the trained one."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainers.errors import ExportError
from trainers.kinds import single
from trainers.output_scale import output_scale
from trainers.predictions import Logits, same_predictions
from trainers.task import Task

TOLERANCE = 1e-4
"""Largest allowed difference between a logit of the trained and of the reloaded module (fp32).

Of numbers in deviations of the training labels, beside what rounding to fp32 takes from their size."""


def parity(
    found: Logits, task: Task, expected: Logits, tolerance: float = TOLERANCE, *, process: str
) -> dict[str, Any]:
    """What a release says of its check: rows, largest difference, tolerance, agreement.

    `process` is where the module was reloaded: the same one, or a fresh one.

    Raises:
        ExportError: if the logits differ.
    """
    if found.shape != expected.shape:
        raise ExportError(
            f"the reloaded module gives {found.shape[0]:,} x {found.shape[-1]} numbers, not "
            f"{expected.shape[0]:,} x {expected.shape[-1]}; nothing was written"
        )
    difference = float(np.abs(found - expected).max())
    if single(task.kind) == "regression":
        tolerance = tolerance * output_scale(task).deviation + 8 * float(np.spacing(np.abs(expected).max()))
    if not difference <= tolerance:
        raise ExportError(
            f"the reloaded module differs from the trained one: largest logit difference {difference:.2e}, "
            f"allowed {tolerance:.0e}; nothing was written"
        )
    return {
        "split": "validation" if task.folds is None else "train",
        "rows": len(task.validation),
        "largest_difference": difference,
        "tolerance": tolerance,
        "process": process,
        **same_predictions(task.kind, found, expected),
    }
