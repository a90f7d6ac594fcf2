"""How a study is left before its end: asked for in the store, or by a signal to the process that runs it."""

from __future__ import annotations

import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from storage.database import Database
from storage.errors import StorageError
from storage.records import Request

POLL_SECONDS = 1.0
"""How often the store is asked at most."""
TERMINATION_SECONDS = 8.0
"""After SIGTERM a rung may take so long to end: `docker stop` kills after 10 s, others later."""


class Stop:
    """Whether a study is to be left after the rung in flight, and why; once it is, it stays so."""

    def __init__(self, database: Database, study_id: int) -> None:
        self.request: Request | None = None
        """What was asked for in the store."""
        self.signal: int | None = None
        """The signal that this process was sent."""
        self.taken = False
        """Whether another worker has the study now, so that nothing more may be written of it."""
        self._database = database
        self._id = study_id
        self._asked = -POLL_SECONDS

    def __call__(self) -> bool:
        if self.request is None and self.signal is None and time.monotonic() - self._asked >= POLL_SECONDS:
            self._asked = time.monotonic()
            try:
                self.request = self._database.request(self._id)
            except StorageError:
                pass  # a busy database; it is asked again soon
        return self.request is not None or self.signal is not None or self.taken


@contextmanager
def on_signals(stop: Stop, tell: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM leave the study while the block runs: one after the rung, a second one now.

    After SIGTERM the rung has `TERMINATION_SECONDS`. For the main thread only.

    Raises:
        KeyboardInterrupt: at the second signal, or when the time is over.
    """
    timer = threading.Timer(TERMINATION_SECONDS, interrupt_main)
    timer.daemon = True

    def press(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None or stop.taken:
            raise KeyboardInterrupt
        stop.signal = number
        if number == signal.SIGTERM:
            timer.start()
            tell("told to end: the rung in flight has a few seconds, and everything is kept")
        else:
            tell("the rung in flight is finished and everything kept; press Ctrl-C again to stop now")

    before = {number: signal.signal(number, press) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
