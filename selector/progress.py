"""Live progress in a terminal: what stands in the store, drawn again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from selector.display import leaderboard_table
from storage.database import Database
from storage.records import Study

REFRESH_SECONDS = 0.5


@contextmanager
def show_progress(database: Database, study_id: int, console: Console) -> Iterator[None]:
    """Show a running study on the console until the block ends; plain lines where it is no terminal."""
    start = time.monotonic()
    if console.is_terminal:
        with Live(
            get_renderable=lambda: _picture(database.study(study_id), time.monotonic() - start),
            console=console,
            refresh_per_second=1 / REFRESH_SECONDS,
            transient=True,
        ):
            yield
        return
    ended = threading.Event()
    lines = threading.Thread(
        target=_print_lines, args=(database, study_id, console, start, ended), daemon=True
    )
    lines.start()
    try:
        yield
    finally:
        ended.set()
        lines.join()


def _picture(study: Study, seconds: float) -> Group:
    line = Text.assemble((_clock(seconds), "bold"), f"  {study.name}: {study.message}")
    return Group(leaderboard_table(study, rows=12), line) if study.trials else Group(line)


def _print_lines(
    database: Database, study_id: int, console: Console, start: float, ended: threading.Event
) -> None:
    last = ""
    while not ended.wait(REFRESH_SECONDS):
        message = database.study(study_id).message
        if message and message != last:
            console.print(f"{_clock(time.monotonic() - start)} {message}", soft_wrap=True)
            last = message


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
