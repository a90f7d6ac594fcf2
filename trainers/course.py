"""One candidate under early stopping: how far it came, and its best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from trainers.fidelity import Epochs, Gate, Report
from trainers.resuming import Checkpoint
from trainers.stack import Candidate, State


class Course:
    """How far one candidate came, and its best epoch."""

    def __init__(self, candidate: Candidate, metric: str, checkpoint: Checkpoint | None = None) -> None:
        facts = {} if checkpoint is None else checkpoint.facts
        self.candidate = candidate
        self.state: State = {} if checkpoint is None else dict(checkpoint.tensors)
        """After the best epoch."""
        self._metric = metric
        self._best = _report(facts["best"]) if facts else None
        self._epochs = facts.get("epochs", 0)
        self._seconds = facts.get("seconds", 0.0)

    def checkpoint(self) -> Checkpoint:
        """Its best epoch, to go on from there."""
        assert self._best is not None
        facts = {"epochs": self._epochs, "seconds": self._seconds, "best": asdict(self._best)}
        return Checkpoint(self.state, facts)

    @property
    def waited(self) -> Epochs:
        """Epochs since the best one."""
        return 0 if self._best is None else self._epochs - self._best.epochs

    def add(self, report: Report, state: State) -> None:
        """Take in what one more epoch, or a part of one, gave."""
        self._epochs, self._seconds = report.epochs, report.seconds
        if self._best is None or self._merit(report) > self._merit(self._best):
            self._best, self.state = report, state

    def rescore(self, report: Report) -> None:
        """Take the metrics and gates of the best state from a report that was made of it anew."""
        assert self._best is not None
        self._best = replace(self._best, metrics=report.metrics, gates=report.gates)
        self._seconds += report.seconds

    def report(self) -> Report:
        """The numbers of the best epoch; what was spent is that of all."""
        best = self._best
        assert best is not None
        earlier = best.epochs if best.epochs < self._epochs else None
        return replace(best, epochs=self._epochs, seconds=self._seconds, best_epoch=earlier)

    def _merit(self, report: Report) -> tuple[float, float]:
        """Larger is better; what diverged is worse than all that did not."""
        score, loss = report.metrics[self._metric], report.metrics["loss"]
        if not all(map(math.isfinite, (score, loss, report.train_loss))):
            return -math.inf, -math.inf
        return score, -loss


def _report(values: Mapping[str, Any]) -> Report:
    return Report(**{**values, "gates": tuple(Gate(**gate) for gate in values["gates"])})
