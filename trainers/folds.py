"""Training with folds: each candidate once without each fold, and once on all rows for what goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from trainers.backbone import Backbone
from trainers.building import AnyStack
from trainers.cross_validation import Rows, fold_rows, fold_tasks, out_of_fold
from trainers.data import Data
from trainers.early_stopping import EarlyStopping, resumed
from trainers.fidelity import Fidelity, Gate, Report
from trainers.method import MethodConfig
from trainers.resuming import Checkpoint, parts_of
from trainers.stack import Candidate, State
from trainers.task import Split
from trainers.tokens import Tokens
from trainers.train import BATCH_SIZE, Logits, Training, start


class FoldedTraining:
    """As `Training`, for a task with folds: a training for each fold, one after another on one backbone.

    Scores, logits and gates are those out of fold: each row is seen by the training without its fold. Modules
    and test logits come from one more training, on all rows, which is made when the others are done.
    """

    def __init__(
        self,
        backbone: Backbone,
        data: Data,
        candidates: list[Candidate],
        *,
        epochs: int,
        seed: int,
        batch_size: int = BATCH_SIZE,
        checkpoints: Sequence[Checkpoint] | None = None,
    ) -> None:
        """Begin from the candidates' seeds, or go on from where checkpoints of them stand."""
        self.backbone = backbone
        self.data = data
        self.epochs = epochs
        self.seed = seed
        self.batch_size = batch_size
        self.parts = [
            self._started(part, candidates, None if checkpoints is None else parts_of(checkpoints, str(fold)))
            for fold, part in enumerate(fold_data(data))
        ]
        self._whole: Training | None = None

    def _started(
        self,
        data: Data,
        candidates: Sequence[Candidate],
        checkpoints: Sequence[Checkpoint] | None = None,
    ) -> Training:
        return start(
            self.backbone,
            data,
            list(candidates),
            epochs=self.epochs,
            seed=self.seed,
            batch_size=self.batch_size,
            checkpoints=checkpoints,
        )

    @property
    def stack(self) -> AnyStack:
        """The candidates that are left, as trained without the first fold."""
        return self.parts[0].stack

    @property
    def whole(self) -> Training:
        """The training on all rows; only when the folds are trained to the end."""
        if self._whole is None:
            raise ValueError(f"the folds are not trained to the end, which is {self.epochs} epochs")
        return self._whole

    def advance(self, to: Fidelity) -> list[Report]:
        """Train each fold up to `to.epochs`, at the end all rows too; one report for each candidate."""
        reports = [part.advance(to) for part in self.parts]
        self.logits: Logits = out_of_fold(self.data.task, [part.logits for part in self.parts])
        sizes = [len(part.data.validation) for part in self.parts]
        found = [self._report(i, [report[i] for report in reports], sizes) for i in range(len(self.stack))]
        if to.epochs < self.epochs:
            return found
        self._whole = self._started(self.data, self.stack.candidates)
        return [
            replace(
                out,
                seconds=out.seconds + own.seconds,
                # what goes out must not have diverged either
                train_loss=out.train_loss if np.isfinite(own.train_loss) else own.train_loss,
            )
            for out, own in zip(found, self._whole.advance(to), strict=True)
        ]

    def _report(self, i: int, reports: Sequence[Report], sizes: Sequence[int]) -> Report:
        task = self.data.task
        return replace(
            reports[0],
            metrics=task.metrics(task.validation, self.logits[i]),
            train_loss=float(np.mean([report.train_loss for report in reports])),
            seconds=sum(report.seconds for report in reports),
            gates=pooled_gates([report.gates for report in reports], sizes),
        )

    @property
    def module_logits(self) -> Logits:
        """What the modules themselves give on the validation rows, which they were trained on."""
        return self.whole.logits

    def test_logits(self) -> Float[np.ndarray, "candidates items classes"]:
        """Logits of the modules on the test split, fp32; for finalists only."""
        return self.whole.test_logits()

    def deployed(self) -> list[tuple[MethodConfig, State]]:
        """The modules, trained on all rows."""
        return self.whole.deployed()

    def checkpoints(self) -> list[Checkpoint] | None:
        """Where each candidate stands in each fold; None for a stack that remembers more than can be told."""
        found = [part.checkpoints() for part in self.parts]
        folds = [checkpoints for checkpoints in found if checkpoints is not None]
        if len(folds) < len(found):
            return None
        return [
            Checkpoint({}, parts={str(fold): one for fold, one in enumerate(own)})
            for own in zip(*folds, strict=True)
        ]

    def select(self, kept: list[int]) -> None:
        """Drop all other candidates; those that stay go on as if nothing had happened."""
        for part in self.parts:
            part.select(kept)
        if self._whole is not None:
            self._whole.select(kept)
        self.logits = self.logits[kept]


AnyTraining = Training | EarlyStopping | FoldedTraining


def begin(
    backbone: Backbone,
    data: Data,
    candidates: list[Candidate],
    *,
    epochs: int,
    seed: int,
    patience: int | None = None,
    checkpoints: Sequence[Checkpoint] | None = None,
) -> AnyTraining:
    """A training of candidates that can share a stack, with folds where the task has them.

    It is a new one, or goes on from where checkpoints of all the candidates stand.

    Raises:
        ValueError: for patience with folds: in each fold a candidate would stop at another epoch.
        CheckpointError: if the checkpoints are not of one stack.
    """
    if data.task.folds is not None:
        if patience is not None:
            raise ValueError("candidates that are trained in folds cannot stop early")
        return FoldedTraining(backbone, data, candidates, epochs=epochs, seed=seed, checkpoints=checkpoints)
    if patience is not None and checkpoints is not None:
        return resumed(backbone, data, candidates, checkpoints, epochs=epochs, seed=seed, patience=patience)
    training = start(backbone, data, candidates, epochs=epochs, seed=seed, checkpoints=checkpoints)
    return training if patience is None else EarlyStopping(training, patience)


def fold_data(data: Data) -> list[Data]:
    """The data of each fold, cut from tokens that are there already."""
    train = data.task.train
    return [
        replace(
            data,
            task=task,
            train=data.train.part(token_rows(data.train, train, others)),
            validation=data.train.part(token_rows(data.train, train, own)),
        )
        for task, (others, own) in zip(fold_tasks(data.task), fold_rows(data.task), strict=True)
    ]


def token_rows(tokens: Tokens, split: Split, rows: Rows) -> Rows:
    """The rows of tokens that these rows of a split became: long rows of words are read in parts."""
    if split.offsets is None:
        return rows
    row = np.searchsorted(split.offsets, tokens.bounds[:-1], side="right") - 1
    return np.flatnonzero(np.isin(row, rows))


def pooled_gates(parts: Sequence[tuple[Gate, ...]], sizes: Sequence[int]) -> tuple[Gate, ...]:
    """The gates over the examples of all folds: their mean, and their standard deviation around it."""
    weights = np.array(sizes) / sum(sizes)
    found = []
    for gates in zip(*parts, strict=True):
        means = np.array([gate.mean for gate in gates])
        squares = np.array([gate.deviation for gate in gates]) ** 2 + means**2
        mean = float(weights @ means)
        deviation = float(np.sqrt(max(weights @ squares - mean**2, 0.0)))
        found.append(replace(gates[0], mean=mean, deviation=deviation))
    return tuple(found)
