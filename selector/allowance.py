"""What a bracket may spend, and whether its next rung still fits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """Bounds of one bracket: by the clock (seconds since the epoch), and in device-seconds of its own."""

    deadline: float = math.inf
    """No rung is started after it."""
    ends: float = math.inf
    """A rung that is predicted to end later is not started."""
    device_deadline: float = math.inf
    device_ends: float = math.inf

    def pays(self, *, now: float, used: float, predicted: float) -> bool:
        """Whether a rung may start that is predicted to take so long, when the bracket has used so much."""
        return (
            now <= self.deadline
            and now + predicted <= self.ends
            and used <= self.device_deadline
            and used + predicted <= self.device_ends
        )


class Meter:
    """Measures the rungs of a bracket on its device, and predicts the next one from the last one's pace."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float] = time.time) -> None:
        self._allowance = allowance
        self._clock = clock
        self._began = clock()
        self._pace = 0.0
        self.used = 0.0
        """Device-seconds so far."""

    def start(self) -> None:
        """A rung begins."""
        self._began = self._clock()

    def stop(self, candidate_epochs: float) -> None:
        """The rung has ended; it trained so many epochs, summed over its candidates."""
        seconds = self._clock() - self._began
        self.used += seconds
        if candidate_epochs:
            self._pace = seconds / candidate_epochs

    def pays_for(self, candidate_epochs: float) -> bool:
        """Whether a rung of so many candidate-epochs may start now."""
        predicted = self._pace * candidate_epochs
        return self._allowance.pays(now=self._clock(), used=self.used, predicted=predicted)
