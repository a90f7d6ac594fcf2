"""How long what is loaded takes, from text to logits.

Standard library only: the text of this file is run behind a format's `CHECK` (trainers/formats), in a process
that need not have Peltier; `loaded` is then what that program has defined.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

BATCH = 32
WARM_UP = 2
BLOCK_SECONDS = 0.02
"""Runs that are timed together last about so long, as in `trainers.latency`."""
LEAST_BLOCKS = 3
SECONDS = 0.4
"""After so long no further block is timed, unless there are too few."""


def latency(
    logits: Callable[[Any, Any], object], texts: Sequence[Any], pairs: Sequence[str] | None, device: object
) -> dict[str, Any]:
    """Milliseconds for one text and for `BATCH` of them, of the median length; tokenising is counted in.

    `logits(texts, pairs)` is what was loaded; a text is a str, or a list of words.
    """
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    middle = order[len(order) // 2]
    found: dict[str, Any] = {"batch": BATCH, "device": str(device), "from": "text"}
    for count, name in ((1, "ms"), (BATCH, "batch_ms")):
        rows = [texts[middle]] * count
        others = None if pairs is None else [pairs[middle]] * count
        found[name] = median_ms(lambda rows=rows, others=others: logits(rows, others))  # type: ignore[misc]
    return found


def median_ms(run: Callable[[], object]) -> float:
    """Milliseconds of one run: the median over blocks."""
    fastest = min(_seconds(run, 1) for _ in range(WARM_UP))
    times = max(1, math.ceil(BLOCK_SECONDS / max(fastest, 1e-6)))
    taken: list[float] = []
    while len(taken) < LEAST_BLOCKS or sum(taken) < SECONDS:
        taken.append(_seconds(run, times))
    return 1000 * median(taken) / times


def _seconds(run: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run()
    return time.perf_counter() - start


if __name__ == "__main__" and "logits" in globals().get("loaded", {}):
    defined = globals()["loaded"]
    with open(sys.argv[2], encoding="utf-8") as given:
        read = json.load(given)
    measured = latency(defined["logits"], read["texts"], read["pairs"], defined.get("device", "cpu"))
    with open(sys.argv[4], "w", encoding="utf-8") as written:
        json.dump(measured, written)
