"""The log of a study: what libraries say goes into a file, and of errors one line each to the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler
from pathlib import Path

LOG = logging.getLogger("peltier")
"""Ours; the first line of an error says all that the user must know."""

LIBRARIES = ("ray", "transformers", "optuna", "datasets", "huggingface_hub")
"""Those that write to the terminal by themselves."""

FORM = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


@contextmanager
def study_log(path: Path) -> Iterator[Path]:
    """Keep what this process logs and warns of in a file, and tell errors in one line, until the block ends.

    Ray's own errors stay in the file: what they are about, its trials tell.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8", delay=True)
    file.setFormatter(FORM)
    terminal = _OneLine(path)
    try:
        with _only(file, terminal):
            yield path
    finally:
        file.close()


class _OneLine(logging.Handler):
    """Errors on stderr; the first one says where the rest is."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.ERROR)
        self._where = f" (in full in {path})"
        self.addFilter(lambda record: not record.name.startswith("ray"))

    def emit(self, record: logging.LogRecord) -> None:
        line = next(iter(record.getMessage().splitlines()), "")
        # Looked up now: a progress display may have put itself in its place.
        print(f"{line}{self._where}", file=sys.stderr)
        self._where = ""


class Records(QueueHandler):
    """Collects what a worker logs, ready to travel."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # `enqueue` is all that would use the queue
        self.records: list[logging.LogRecord] = []

    def enqueue(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def take(self) -> list[logging.LogRecord]:
        """The records since the last call."""
        records, self.records = self.records, []
        return records


@contextmanager
def collected() -> Iterator[Records]:
    """What this process logs and warns of while the block runs, in place of writing it anywhere."""
    records = Records()
    with _only(records):
        yield records


def pass_on(record: logging.LogRecord) -> None:
    """Log here what another process has collected."""
    logging.getLogger(record.name).handle(record)


@contextmanager
def _only(*handlers: logging.Handler) -> Iterator[None]:
    """Let all records of this process go to these handlers only."""
    root = logging.getLogger()
    loggers = [root, LOG, *map(logging.getLogger, LIBRARIES)]
    before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.WARNING)
    root.handlers = list(handlers)
    LOG.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, old, propagate, level in before:
            logger.handlers, logger.propagate = old, propagate
            logger.setLevel(level)
