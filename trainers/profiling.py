"""Where the seconds of a training go, and a trace of a few steps; it costs nothing while nobody asks.

Code that trains names its parts: `with part(BACKWARD): ...`. Inside `profiled()` they are timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch.profiler import profile, record_function

FORWARD = "backbone forward"
MODULES = "modules"
BACKWARD = "backward"
OPTIMIZER = "optimizer"
EVALUATION = "evaluation"
PARTS = (FORWARD, MODULES, BACKWARD, OPTIMIZER, EVALUATION)
WARM_UP = 5
"""Training steps before the trace, such as those that find out how fast this machine is."""
TRACED = 10
"""Training steps in the trace, which holds every single operation."""

_NOTHING = nullcontext()
_profile: Profile | None = None


class Profile:
    """The seconds of each part, those of a part inside another counted once, as the inner one's."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.total = 0.0
        """Of everything, when it is over; what belongs to no part was spent outside."""
        self.steps = 0
        self._open: list[str] = []
        self._since = self._begin = time.perf_counter()
        self._tracer: profile | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the seconds of the block as this part's; inside an evaluation all are the evaluation's."""
        name = EVALUATION if EVALUATION in self._open else name
        if self._tracer is None and self.steps == WARM_UP and name == FORWARD:
            self._tracer = profile()
            self._tracer.start()
        self._change()
        self._open.append(name)
        try:
            with record_function(name):
                yield
        finally:
            self._change()
            self._open.pop()

    def stepped(self) -> None:
        """A training step is done; behind the last one that is traced the trace is written."""
        self.steps += 1
        if self.steps == WARM_UP + TRACED:
            self._write()

    def end(self) -> None:
        """The work is over."""
        self.total = time.perf_counter() - self._begin
        self._write()

    def _change(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # else what the device still does would count as the next part's
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def _write(self) -> None:
        if self._tracer is not None:
            self._tracer.stop()
            self._tracer.export_chrome_trace(str(self.trace))
            self._tracer = None

    def summary(self) -> str:
        """One line for people."""
        outside = self.total - sum(self.seconds.values())
        shares = {**self.seconds, "outside": outside}
        said = ", ".join(f"{name} {seconds / self.total:.0%}" for name, seconds in shares.items())
        traced = min(self.steps - WARM_UP, TRACED)
        written = f"; {traced} training steps are traced in {self.trace}" if traced > 0 else ""
        return f"{self.total:.1f} s: {said}{written}"


@contextmanager
def profiled(trace: Path) -> Iterator[Profile]:
    """Time the parts of what this process trains inside the block, and write a trace of a few steps.

    The trace is JSON for chrome://tracing or ui.perfetto.dev. On a GPU each part waits for the device,
    so that a profiled run takes longer.
    """
    global _profile
    _profile = Profile(trace)
    try:
        yield _profile
    finally:
        _profile.end()
        _profile = None


def part(name: str) -> AbstractContextManager[None]:
    """A block that belongs to a part, for whoever is profiling."""
    return _NOTHING if _profile is None else _profile.part(name)


def stepped() -> None:
    """Tell whoever is profiling that a training step is done."""
    if _profile is not None:
        _profile.stepped()
