"""One stack of a bracket: begun or taken up, trained rung by rung, halved when memory does not hold it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from selector.candidate_memory import in_parts
from selector.full_finetuning import METHOD as FULL
from selector.jobs import EARLY_STOPPING, Bracket, Entry, Outcome
from selector.phrases import as_whole, count
from storage.records import State
from trainers.backbone import Backbone
from trainers.building import method_named
from trainers.data import Data
from trainers.export import Module
from trainers.fidelity import Fidelity, Report
from trainers.folds import AnyTraining, FoldedTraining, begin
from trainers.free_memory import check_memory
from trainers.latency import measure_latency
from trainers.method import MethodConfig
from trainers.resuming import checkpoint_from_bytes
from trainers.reusing import stands_high
from trainers.stack import Candidate
from trainers.stack import State as Tensors

MAX_CHECKPOINT_BYTES = 64 * 2**20
"""Of one candidate: 5.6 million trained numbers with their two moments. Larger ones, such as full
fine-tuning, are trained again from their seed when a study is taken up."""
OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "not enough memory",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What torch says in a plain RuntimeError where memory is short."""


def stacks(entries: Sequence[Entry], backbone: Backbone, left: Sequence[Entry] = ()) -> list[list[Entry]]:
    """Entries that may share a stack, do not hold each other up, and together fit into memory.

    Those that have `left` the bracket tell who stood beside whom: the same stack gives the same numbers.
    """
    alike: dict[tuple[object, ...], list[Entry]] = {}
    for entry in sorted((*entries, *left), key=lambda entry: entry.number):
        config = config_of(entry)
        key = (config.stack_key, stands_high(config, backbone), entry.number if config.alone else None)
        alike.setdefault(key, []).append(entry)
    parts = [part for group in alike.values() for part in in_parts(group, backbone.device)]
    numbers = {entry.number for entry in entries}
    staying = [[entry for entry in part if entry.number in numbers] for part in parts]
    return [part for part in staying if part]


def config_of(entry: Entry) -> MethodConfig:
    """The configuration of an entry."""
    return method_named(entry.method).from_values(entry.values)


def one_line(error: BaseException) -> str:
    """An error as the message of a trial."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less at once might do."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


class StackGroup:
    """One stack of a bracket; when it raises, its trials fail and the others go on."""

    def __init__(self, entries: Sequence[Entry], bracket: Bracket, backbone: Backbone, data: Data) -> None:
        self.reports: dict[int, Report] = {}
        """Of the last rung, by trial number."""
        self.failures: dict[int, str] = {}
        """Of the last rung: why trials could not be trained."""
        self._entries = list(entries)
        self._bracket, self._backbone, self._data = bracket, backbone, data
        self._training: AnyTraining | None = None
        resumed = bracket.begun > 0 and all(entry.checkpoint is not None for entry in entries)
        self._done = bracket.rungs[bracket.begun - 1] if resumed else 0.0

    @property
    def numbers(self) -> list[int]:
        """Its trials, in the order of the stack."""
        return [entry.number for entry in self._entries]

    def candidate_epochs(self, epochs: float) -> float:
        """What is to be trained up to so many epochs, summed over its trials."""
        return len(self._entries) * (epochs - self._done)

    def advance(self, epochs: float) -> list[StackGroup]:
        """Train and score up to so many epochs; itself, or its parts where memory did not hold it whole."""
        self.reports, self.failures = {}, {}
        failure, halve = self._try(epochs)
        if failure and halve and len(self._entries) > 1:
            return [part for half in self._halves() for part in half.advance(epochs)]
        self.failures = dict.fromkeys(self.numbers, failure) if failure else {}
        return [self]

    def _try(self, epochs: float) -> tuple[str, bool]:
        """The message of what went wrong, if anything, and whether memory was short."""
        try:
            if self._training is None:
                self._training = self._begun()
            reports = self._training.advance(Fidelity(epochs=epochs))
        except Exception as error:  # whatever a method raises is the failure of its trials only
            failure, short = one_line(error), is_out_of_memory(error)
        else:
            self.reports = dict(zip(self.numbers, reports, strict=True))
            self._done = epochs
            return "", False
        # The error has gone by now, and with it what its traceback held.
        self._training = None
        gc.collect()
        if self._backbone.device.type == "cuda":
            torch.cuda.empty_cache()
        return failure, short

    def _begun(self) -> AnyTraining:
        if any(entry.method == FULL for entry in self._entries):
            folds = self._data.task.folds
            check_memory(self._backbone, 1 if folds is None else self._data.task.fold_count + 1)
        checkpoints = [entry.checkpoint for entry in self._entries if entry.checkpoint is not None]
        return begin(
            self._backbone,
            self._data,
            [Candidate(config_of(entry), entry.seed) for entry in self._entries],
            epochs=round(self._bracket.rungs[-1]),  # a whole training has no part of an epoch
            seed=self._bracket.order_seed,
            patience=self._bracket.patience,
            # Where one is missing, all of the stack is trained again from its seeds.
            checkpoints=[checkpoint_from_bytes(one) for one in checkpoints]
            if len(checkpoints) == len(self._entries)
            else None,
        )

    def _halves(self) -> Iterator[StackGroup]:
        middle = (len(self._entries) + 1) // 2
        for part in (self._entries[:middle], self._entries[middle:]):
            yield StackGroup(part, self._bracket, self._backbone, self._data)

    def retain(self, numbers: Sequence[int]) -> None:
        """Drop all other trials, and remember where those that stay stand."""
        if self._training is not None and numbers and list(numbers) != self.numbers:
            self._training.select([self.numbers.index(n) for n in numbers])
        self._entries = [entry for entry in self._entries if entry.number in numbers]
        checkpoints = self._checkpoints() if numbers else []
        self._entries = [
            replace(entry, checkpoint=one) for entry, one in zip(self._entries, checkpoints, strict=True)
        ]

    def _checkpoints(self) -> Sequence[bytes | None]:
        none = [None] * len(self._entries)
        training = self._training
        if training is None:
            return none
        folds = len(training.parts) if isinstance(training, FoldedTraining) else 1
        numbers = 3 * training.stack.parameters[0].numel() * folds
        if numbers * training.stack.parameters.element_size() > MAX_CHECKPOINT_BYTES:
            return none
        found = training.checkpoints()
        return none if found is None else [checkpoint.to_bytes() for checkpoint in found]

    @property
    def checkpoints(self) -> dict[int, bytes]:
        """Where its trials stood at the end of the last rung, for those of which it can be told."""
        return {entry.number: entry.checkpoint for entry in self._entries if entry.checkpoint is not None}

    # ------------------------------------------------------------------------------ the end

    def module(self, number: int) -> Tensors:
        """What one of its trials has been trained to."""
        assert self._training is not None
        return self._training.deployed()[self.numbers.index(number)][1]

    def complete(self, numbers: Sequence[int], *, test: bool) -> list[Outcome]:
        """The outcomes of whole trainings; with the test split's logits for finalists."""
        training = self._training
        if training is None or not numbers:
            return []
        modules = training.deployed()
        scored = training.test_logits() if test else None
        own = training.module_logits if isinstance(training, FoldedTraining) else None
        outcomes = []
        for number in numbers:
            i = self.numbers.index(number)
            config, state = modules[i]
            module = Module(config, training.stack.candidates[i].seed, state)
            outcomes.append(
                Outcome(
                    number=number,
                    state=State.COMPLETE,
                    report=self.reports[number],
                    module=module.to_bytes() if self._entries[i].keep_module else None,
                    validation_logits=training.logits[i],
                    test_logits=None if scored is None else scored[i],
                    module_logits=None if own is None else own[i],
                    latency=self._latency((config, state)) if test and self._entries[i].time else None,
                    message=stopped(self.reports[number]),
                )
            )
        return outcomes

    def _latency(self, module: tuple[MethodConfig, Tensors]) -> Mapping[str, Any]:
        return measure_latency(self._backbone, self._data, module).to_json()


def stopped(report: Report) -> str:
    """What early stopping did, for the message of a trial; empty when it did nothing."""
    if report.best_epoch is None:
        return ""
    trained = count(report.epochs, "epoch")
    return f"{EARLY_STOPPING}trained for {trained}, scored as it was after {as_whole(report.best_epoch)}"
