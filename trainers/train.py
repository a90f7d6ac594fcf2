"""Train a stack up to a fidelity, measure it, and drop candidates from it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trainers.backbone import Backbone
from trainers.batches import Batch, batches, evaluation_order, training_order
from trainers.building import AnyStack, OwnRules, build_stack
from trainers.data import Data as Data
from trainers.data import prepare as prepare
from trainers.epochs import batches_before, next_stop
from trainers.fidelity import Epochs, Fidelity, Report
from trainers.imbalance import weighting
from trainers.method import MethodConfig
from trainers.optim import AdamW, schedule
from trainers.profiling import BACKWARD, EVALUATION, FORWARD, OPTIMIZER, part, stepped
from trainers.resuming import Checkpoint, Resumable, common, parts_of
from trainers.reusing import reusing
from trainers.stack import Candidate, State
from trainers.tokens import Tokens

BATCH_SIZE = 16
EVALUATION_BATCH_SIZE = 64

Logits = NDArray[np.float32]
"""`[rows, classes]`, `[words, classes]` or `[rows, 1]`."""


class Training:
    """A stack on its way: what is trained, how far, and the state of its optimizer."""

    def __init__(
        self, stack: AnyStack, data: Data, *, epochs: int, seed: int, batch_size: int = BATCH_SIZE
    ) -> None:
        """`epochs` is the length of a whole training: the learning rate falls to zero there.

        `seed` orders the data, the same for all candidates, so that they can be compared pair by pair.
        """
        self.data = data
        self.epochs = epochs
        self.seed = seed
        self.batch_size = batch_size
        self.done: Epochs = 0
        self.seconds = 0.0
        self.train_loss: list[float] = [float("nan")] * len(stack)
        self._losses = torch.zeros(len(stack), device=stack.backbone.device)
        """Each candidate's loss, summed over what it has seen of the epoch under way."""
        self._take(stack)

    def advance(self, to: Fidelity) -> list[Report]:
        """Train up to `to.epochs` and score the validation split; one report for each candidate, in order."""
        start = time.perf_counter()
        with self.stack.attached():
            while self.done < to.epochs:
                self.train_until(next_stop(self.done, to.epochs))
        # The scores of a whole training are taken in fp32: they hold wherever the module goes.
        final = self.done >= self.epochs
        scored = self.stack.on(self.stack.backbone.in_fp32) if final else self.stack
        with scored.watching() as watch:
            self.logits = self.data.scale.applied(logits_of(scored, self.data.validation, again=True))
        self.gates = [watch.gates(i) for i in range(len(scored))]
        self.seconds += (time.perf_counter() - start) / len(self.stack)
        return [self._report(i) for i in range(len(self.stack))]

    def test_logits(self) -> Float[np.ndarray, "candidates items classes"]:
        """Logits on the test split, fp32; for finalists only."""
        return self.data.scale.applied(
            logits_of(self.stack.on(self.stack.backbone.in_fp32), self.data.test, again=True)
        )

    def deployed(self) -> list[tuple[MethodConfig, State]]:
        """What is left of each candidate: its module, with a head that predicts by itself."""
        return [(config, self.data.scale.folded(state)) for config, state in self.stack.deployed()]

    def select(self, kept: list[int]) -> None:
        """Drop all other candidates; those that stay go on as if nothing had happened."""
        before, optimizer = self.stack, self.optimizer
        self._take(before.select(kept))
        self.optimizer.steps = optimizer.steps
        for moment in ("mean", "square"):
            states = before.unpack(getattr(optimizer, moment))
            packed = self.stack.pack([states[i] for i in kept])
            setattr(self.optimizer, moment, packed.to(self.stack.backbone.device))
        self.logits = self.logits[kept]
        self.gates = [self.gates[i] for i in kept]
        self.train_loss = [self.train_loss[i] for i in kept]
        self._losses = self._losses[kept]

    def checkpoints(self) -> list[Checkpoint] | None:
        """Where each candidate stands; None for a stack that remembers more than can be told.

        A training of the same candidates that goes on from there equals one that was never interrupted.
        """
        stack, optimizer = self.stack, self.optimizer
        if not isinstance(stack, Resumable):
            return None
        rows = {"parameters": stack.parameters, "mean": optimizer.mean, "square": optimizer.square}
        states = {name: stack.unpack(row) for name, row in rows.items()}
        chances = stack.chances()
        facts = {"epochs": self.done, "steps": optimizer.steps, "seconds": self.seconds}
        losses = self._losses.tolist()
        return [
            Checkpoint(
                {} if chances is None else {"chance": chances[i]},
                {**facts, "train_loss": self.train_loss[i], "losses": losses[i]},
                {name: Checkpoint(states[name][i]) for name in states},
            )
            for i in range(len(stack))
        ]

    def go_on_from(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Take up, with a stack of these checkpoints' parameters, the training that they are of.

        Raises:
            CheckpointError: if the checkpoints are not of one stack.
        """
        stack, optimizer = self.stack, self.optimizer
        self.done, optimizer.steps = common(checkpoints, "epochs"), common(checkpoints, "steps")
        self.seconds = common(checkpoints, "seconds")
        self.train_loss = [checkpoint.facts["train_loss"] for checkpoint in checkpoints]
        # Those from before epochs had parts stand at the end of one, where the sum is not needed any more.
        losses = [checkpoint.facts.get("losses", 0.0) for checkpoint in checkpoints]
        self._losses = torch.tensor(losses, device=stack.backbone.device)
        for moment in ("mean", "square"):
            packed = stack.pack([part.tensors for part in parts_of(checkpoints, moment)])
            setattr(optimizer, moment, packed.to(stack.backbone.device))
        chances = [one.tensors["chance"] for one in checkpoints if "chance" in one.tensors]
        if chances and isinstance(stack, Resumable):
            stack.set_chances(chances)

    def _take(self, stack: AnyStack) -> None:
        self.stack = stack
        self.optimizer = _optimizer(stack)
        configs = [candidate.config for candidate in stack.candidates]
        self.warmups = [config.warmup for config in configs]
        self.weighting = weighting(self.data.task, configs, stack.backbone.device)

    def train_until(self, epochs: Epochs) -> None:
        """Train on to a point of the epoch under way, its end at the latest, inside `stack.attached()`.

        However an epoch is cut, its batches and their order are those of the whole.
        """
        tokens, epoch = self.data.train, math.floor(self.done)
        order = training_order(tokens.lengths, self.batch_size, self.seed * 1_000_003 + epoch)
        begin, end = (batches_before(point - epoch, len(order)) for point in (self.done, epochs))
        if begin == 0:
            self._losses = torch.zeros_like(self._losses)
        self.train_batches(order[begin:end], epoch * len(order) + begin, self.epochs * len(order))
        seen = len(tokens.items(np.concatenate(order[:end])))
        self.train_loss = [float(value) for value in self._losses / seen]
        self.done = epochs

    def train_batches(self, order: list[NDArray[np.int64]], first: int, steps: int) -> None:
        """A step on each batch of rows, `first` being the first one's number of `steps` in all.

        Inside `stack.attached()`.
        """
        device = self.stack.backbone.device
        factors = schedule(steps, self.warmups).to(device, non_blocking=True)
        for step, batch in enumerate(reusing(self.stack, self.data.train, order), start=first):
            self._losses += self._step(batch, step, steps, factors[step]) * len(batch.items)
            stepped()

    def _step(self, batch: Batch, step: int, steps: int, factor: Tensor) -> Float[Tensor, " candidates"]:
        """One step of all candidates; the loss of each before it."""
        with part(FORWARD):
            logits = self.stack.logits(batch, training=True)
            loss = self.data.scale.losses(logits, batch.labels, self.weighting)
            penalty = self.stack.penalty
            goal = loss if penalty is None else loss + penalty
        with part(BACKWARD):
            (gradient,) = torch.autograd.grad(goal.sum(), self.stack.parameters)
        with part(OPTIMIZER):
            self.optimizer.step(self.stack.parameters, gradient, factor)
            if isinstance(self.stack, OwnRules):
                self.stack.after_step(gradient, step, steps)
        return loss.detach()

    def _report(self, i: int) -> Report:
        return Report(
            epochs=self.done,
            metrics=self.data.task.metrics(self.data.task.validation, self.logits[i]),
            train_loss=self.train_loss[i],
            seconds=self.seconds,
            gates=self.gates[i],
        )


def start(
    backbone: Backbone,
    data: Data,
    candidates: list[Candidate],
    *,
    epochs: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
    checkpoints: Sequence[Checkpoint] | None = None,
) -> Training:
    """A training of candidates that can share a stack: a new one, or from where checkpoints of it stand.

    Raises:
        CheckpointError: if the checkpoints are not of one stack.
    """
    states = None if checkpoints is None else [c.tensors for c in parts_of(checkpoints, "parameters")]
    stack = build_stack(backbone, candidates, data.task.outputs, states)
    training = Training(stack, data, epochs=epochs, seed=seed, batch_size=batch_size)
    if checkpoints is not None:
        training.go_on_from(checkpoints)
    return training


@torch.no_grad()
def logits_of(
    stack: AnyStack, tokens: Tokens, batch_size: int = EVALUATION_BATCH_SIZE, *, again: bool = False
) -> Float[np.ndarray, "candidates items classes"]:
    """Logits of every candidate for every row or word, in the order of the split.

    `again` says that these tokens come again, and what frozen layers give for them is worth keeping.
    """
    device = stack.backbone.device
    # Looked at when all is there: a device works on while the next batches are made.
    found = torch.empty(len(stack), len(tokens.labels), stack.classes, device=device)
    order = evaluation_order(tokens.lengths, batch_size)
    plain = batches(tokens, order, stack.backbone.pad_token_id, device)
    with part(EVALUATION), stack.attached():
        for batch in reusing(stack, tokens, order) if again else plain:
            items = torch.from_numpy(batch.items).to(device, non_blocking=True)
            found[:, items] = stack.logits(batch)
    return found.cpu().numpy()


def _optimizer(stack: AnyStack) -> AdamW:
    configs = [candidate.config for candidate in stack.candidates]
    rates = [config.learning_rate for config in configs]
    decays = [config.weight_decay for config in configs]
    return AdamW(stack.parameters.shape, rates, decays, stack.rates()).to(stack.backbone.device)
