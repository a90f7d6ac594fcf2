"""Early stopping: a candidate that gets no better leaves its stack, and is left as it was at its best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from numpy import ndarray

from trainers.backbone import Backbone
from trainers.building import AnyStack, build_stack
from trainers.course import Course
from trainers.data import Data
from trainers.epochs import next_stop
from trainers.fidelity import Epochs, Fidelity, Report
from trainers.method import MethodConfig
from trainers.resuming import Checkpoint, parts_of
from trainers.stack import Candidate, State
from trainers.train import Training, start

TRAINING = "training"
"""Part of a checkpoint: who has not stopped stands there. The rest is the best epoch."""


class EarlyStopping:
    """A training that scores validation after every epoch, and in which candidates stop one by one.

    Better is a higher task metric and, at equal metric, a lower validation loss: an F1 that is still 0 stops
    nobody whose loss falls. A candidate that was not better for `patience` epochs leaves the stack, so that
    the others get faster; for these nothing changes. What counts of a candidate, and what remains of
    it at the end, is its best epoch, whether it stopped or not. A rung that ends inside an epoch is
    scored like the end of one, and may be the best.
    """

    def __init__(self, training: Training, patience: int) -> None:
        """Take over a training that has not begun.

        Raises:
            ValueError: if the patience is not at least one epoch.
        """
        if patience < 1:
            raise ValueError(f"patience is {patience}; it must be at least 1 epoch")
        self.patience = patience
        self._training = training
        self._courses = [
            Course(candidate, training.data.task.metric) for candidate in training.stack.candidates
        ]
        self._running = list(self._courses)
        """Those in the stack, in its order."""

    @property
    def stack(self) -> AnyStack:
        """After a whole training: all candidates that were not dropped, each as it was at its best."""
        return self._training.stack

    @property
    def logits(self) -> Float[ndarray, "candidates items classes"]:
        """After a whole training: those of `stack` on the validation split, fp32."""
        return self._training.logits

    def test_logits(self) -> Float[ndarray, "candidates items classes"]:
        """After a whole training: as of `Training`."""
        return self._training.test_logits()

    def deployed(self) -> list[tuple[MethodConfig, State]]:
        """After a whole training: as of `Training`."""
        return self._training.deployed()

    def advance(self, to: Fidelity) -> list[Report]:
        """Train up to `to.epochs` those that have not stopped; one report for each candidate, in order.

        A report has the numbers of the best epoch so far; its `epochs` and `seconds` are what was spent.
        """
        while self._running and self._training.done < to.epochs:
            self._train_until(next_stop(self._training.done, to.epochs))
        if to.epochs >= self._training.epochs:
            self._restore()
        return [course.report() for course in self._courses]

    def select(self, kept: Sequence[int]) -> None:
        """Drop all other candidates; those that stay go on as if nothing had happened."""
        self._courses = [self._courses[i] for i in kept]
        self._go_on_with([i for i, course in enumerate(self._running) if course in self._courses])

    def checkpoints(self) -> list[Checkpoint] | None:
        """Where each candidate stands; None for a stack that remembers more than can be told."""
        inside = self._training.checkpoints()
        if inside is None:
            return None
        places = {course: place for place, course in enumerate(self._running)}
        return [
            replace(one.checkpoint(), parts={TRAINING: inside[places[one]]} if one in places else {})
            for one in self._courses
        ]

    def go_on_from(self, candidates: Sequence[Candidate], checkpoints: Sequence[Checkpoint]) -> None:
        """Take over the checkpoints of all candidates; the training holds those that have not stopped."""
        metric = self._training.data.task.metric
        both = [(Course(c, metric, one), one) for c, one in zip(candidates, checkpoints, strict=True)]
        self._courses = [course for course, _ in both]
        self._running = [course for course, one in both if TRAINING in one.parts]

    def _train_until(self, epochs: Epochs) -> None:
        reports = self._training.advance(Fidelity(epochs=epochs))
        states = self._training.stack.states()
        for course, report, state in zip(self._running, reports, states, strict=True):
            course.add(report, state)
        self._go_on_with([i for i, course in enumerate(self._running) if course.waited < self.patience])

    def _go_on_with(self, places: list[int]) -> None:
        if places and len(places) < len(self._running):
            self._training.select(places)
        self._running = [self._running[i] for i in places]

    def _restore(self) -> None:
        """Put all candidates side by side again, as they were at their best, and score them in fp32."""
        before = self._training
        stack = build_stack(
            before.stack.backbone,
            [course.candidate for course in self._courses],
            before.stack.classes,
            [course.state for course in self._courses],
        )
        self._training = Training(
            stack, before.data, epochs=before.epochs, seed=before.seed, batch_size=before.batch_size
        )
        self._training.done = before.epochs
        reports = self._training.advance(Fidelity(epochs=before.epochs))
        for course, report in zip(self._courses, reports, strict=True):
            course.rescore(report)


def resumed(
    backbone: Backbone,
    data: Data,
    candidates: Sequence[Candidate],
    checkpoints: Sequence[Checkpoint],
    *,
    epochs: int,
    seed: int,
    patience: int,
) -> EarlyStopping:
    """The training that checkpoints of all its candidates are of, from where they stand.

    Raises:
        CheckpointError: if the checkpoints are not of one stack.
    """
    inside = parts_of(checkpoints, TRAINING)
    running = [c for c, one in zip(candidates, checkpoints, strict=True) if TRAINING in one.parts]
    # Where all have stopped, the stack is not trained on: it only tells what `_restore` makes.
    stack = running or list(candidates)
    training = start(backbone, data, stack, epochs=epochs, seed=seed, checkpoints=inside or None)
    stopping = EarlyStopping(training, patience)
    stopping.go_on_from(candidates, checkpoints)
    return stopping
