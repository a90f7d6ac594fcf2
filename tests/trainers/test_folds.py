"""Training with folds: nobody is scored by what saw it, and the numbers are those of trainings by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import data_of, rows_of, task_of, task_of_kind

import trainers.methods  # noqa: F401
from trainers import folds
from trainers.backbone import Backbone
from trainers.baselines import text_baselines
from trainers.cross_validation import item_folds, out_of_fold
from trainers.data import Data
from trainers.export import ExportError, Module, load_export, write_export
from trainers.fidelity import Fidelity, Gate
from trainers.folds import FoldedTraining, begin, fold_data, pooled_gates, token_rows
from trainers.kinds import KINDS, single
from trainers.method import METHODS
from trainers.probe import linear_probe
from trainers.splits import Split
from trainers.stack import Candidate
from trainers.task import Task
from trainers.train import Training, start

FOLDS = 3


def folded(task: Task) -> Task:
    """The task with three folds of its training rows, drawn anyhow."""
    drawn = np.random.default_rng(0).permutation(np.arange(len(task.train)) % FOLDS)
    return replace(task, validation=task.train, folds=drawn)


def candidates(count: int = 2) -> list[Candidate]:
    return [Candidate(METHODS["lora"](rank=2 + i, learning_rate=2e-2), seed=i) for i in range(count)]


def trained(backbone: Backbone, data: Data, epochs: int = 2) -> FoldedTraining:
    training = begin(backbone, data, candidates(), epochs=epochs, seed=0)
    assert isinstance(training, FoldedTraining)
    training.advance(Fidelity(epochs=epochs))
    return training


def by_hand(backbone: Backbone, task: Task, fold: int) -> tuple[Training, np.ndarray]:
    """A training on the rows outside a fold, read as a task of its own; and which rows are in it."""
    assert task.folds is not None
    own = np.flatnonzero(task.folds == fold)
    others = np.flatnonzero(task.folds != fold)
    part = replace(task, train=task.train.take(others), validation=task.train.take(own), folds=None)
    training = start(backbone, data_of(backbone, part), candidates(), epochs=2, seed=0)
    training.advance(Fidelity(epochs=2))
    return training, own


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_logits_are_those_of_trainings_without_each_fold(kind: str, backbone: Backbone) -> None:
    task = folded(task_of_kind(kind, 24, 4, 8))
    training = trained(backbone, data_of(backbone, task))
    bounds = task.train.offsets if task.train.offsets is not None else np.arange(25)
    for fold in range(FOLDS):
        alone, own = by_hand(backbone, task, fold)
        items = np.concatenate([np.arange(bounds[row], bounds[row + 1]) for row in own])
        np.testing.assert_allclose(training.logits[:, items], alone.logits, atol=1e-5)
    assert training.logits.shape[1] == len(task.train.labels)


def test_what_goes_out_is_trained_on_all_rows(backbone: Backbone, tmp_path: Path) -> None:
    task = folded(task_of_kind("classification", 24, 4, 8))
    data = data_of(backbone, task)
    training = trained(backbone, data)
    whole = start(backbone, data_of(backbone, replace(task, folds=None)), candidates(), epochs=2, seed=0)
    whole.advance(Fidelity(epochs=2))
    np.testing.assert_allclose(training.test_logits(), whole.test_logits(), atol=1e-6)
    np.testing.assert_allclose(training.module_logits, whole.logits, atol=1e-6)
    config, state = training.deployed()[1]
    module = Module(config, 1, state)
    difference = write_export(tmp_path / "export", module, backbone, task, 32, training.module_logits[1], {})
    manifest = load_export(tmp_path / "export", backbone).manifest
    assert difference <= 1e-4
    assert (manifest["parity"]["split"], manifest["task"]["folds"]) == ("train", FOLDS)
    with pytest.raises(ExportError, match="differs from the trained one"):
        write_export(tmp_path / "other", module, backbone, task, 32, training.logits[1], {})


def memorised(rows: int = 20) -> Task:
    """Each text stands twice, in one fold, and its label can only be known by heart."""
    chance = np.random.default_rng(3)
    one = rows_of("classification", rows, seed=3)
    texts = (*one.texts, *(text.upper() for text in one.texts))
    split = Split(texts, None, np.tile(chance.permutation(np.arange(rows) % 2), 2))
    task = task_of(split, split, split, labels=2)
    return replace(task, folds=np.tile(np.arange(rows) % FOLDS, 2))


def test_no_row_is_scored_by_what_saw_it_or_a_duplicate_of_it(backbone: Backbone) -> None:
    task = memorised()
    data = data_of(backbone, task)
    training = begin(
        backbone, data, [Candidate(METHODS["lora"](rank=16, learning_rate=2e-2), 0)], epochs=30, seed=0
    )
    assert isinstance(training, FoldedTraining)
    (report,) = training.advance(Fidelity(epochs=30))
    by_heart = task.metrics(task.train, training.module_logits[0])["accuracy"]
    assert by_heart > 0.95, "the module knows its rows by heart"
    assert report.metrics["accuracy"] < 0.75, "out of fold there is nothing to know"
    assert report.metrics == task.metrics(task.train, training.logits[0])
    for part in training.parts:
        seen, scored = (
            {text.lower() for text in s.texts} for s in (part.data.task.train, part.data.task.validation)
        )
        assert not seen & scored
    for scores in text_baselines(task):
        assert task.metrics(task.train, scores.validation_logits)["accuracy"] < 0.75, scores.name
    assert task.metrics(task.train, scores.test_logits)["accuracy"] > 0.95
    with torch.no_grad():
        probe = linear_probe(backbone, data)
    assert task.metrics(task.train, probe.validation_logits)["accuracy"] < 0.75
    assert probe.module_logits is not None


def test_cutting_and_advancing_in_steps_changes_nothing_for_who_stays(backbone: Backbone) -> None:
    data = data_of(backbone, folded(task_of_kind("classification", 24, 4, 8)))
    at_once = trained(backbone, data)
    in_steps = begin(backbone, data, candidates(), epochs=2, seed=0)
    first, _ = in_steps.advance(Fidelity(epochs=0.5))
    in_steps.select([1])
    assert len(in_steps.stack.candidates) == len(in_steps.logits) == 1
    (last,) = in_steps.advance(Fidelity(epochs=2))
    np.testing.assert_allclose(in_steps.logits[0], at_once.logits[1], atol=1e-5)
    np.testing.assert_allclose(in_steps.test_logits()[0], at_once.test_logits()[1], atol=1e-5)
    assert (first.epochs, last.epochs) == (0.5, 2) and last.seconds > first.seconds


def test_modules_are_there_at_the_end_only(backbone: Backbone) -> None:
    data = data_of(backbone, folded(task_of_kind("classification", 12, 4, 8)))
    training = begin(backbone, data, candidates(), epochs=2, seed=0)
    training.advance(Fidelity(epochs=1))
    with pytest.raises(ValueError, match="not trained to the end, which is 2 epochs"):
        training.deployed()


def spoiled(training: Training) -> Training:
    """The training with a first candidate that diverges."""
    with torch.no_grad():
        training.stack.parameters[0, 100] = float("nan")
    return training


def test_a_candidate_that_diverges_in_one_fold_is_told(backbone: Backbone) -> None:
    data = data_of(backbone, folded(task_of_kind("classification", 24, 4, 8)))
    training = begin(backbone, data, candidates(), epochs=2, seed=0)
    assert isinstance(training, FoldedTraining)
    spoiled(training.parts[1])
    broken, healthy = training.advance(Fidelity(epochs=1))
    assert math.isnan(broken.train_loss) and math.isfinite(healthy.train_loss)


def test_a_module_that_diverges_on_all_rows_is_told(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(backbone, folded(task_of_kind("classification", 24, 4, 8)))
    training = begin(backbone, data, candidates(), epochs=1, seed=0)
    assert isinstance(training, FoldedTraining)
    monkeypatch.setattr(folds, "start", lambda *parts, **options: spoiled(start(*parts, **options)))
    broken, healthy = training.advance(Fidelity(epochs=1))
    assert math.isnan(broken.train_loss) and math.isfinite(healthy.train_loss)
    assert all(map(math.isfinite, broken.metrics.values())), "its folds were well"


def test_without_folds_nothing_changes(backbone: Backbone) -> None:
    task = task_of_kind("classification", 24, 4, 8)
    assert type(begin(backbone, data_of(backbone, task), candidates(), epochs=2, seed=0)) is Training
    assert fold_data(data_of(backbone, task)) == []


def test_long_rows_of_words_stay_whole_in_their_fold(backbone: Backbone) -> None:
    lengths = [3, 90, 2, 70, 5, 4]  # the backbone reads 32 tokens: two rows are read in parts
    words = tuple(("good",) * length for length in lengths)
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    split = Split(words, None, np.arange(offsets[-1]) % 2, offsets)
    task = replace(
        task_of(split, split, split, kind="token-classification", labels=2, metric="token_accuracy"),
        folds=np.array([0, 1, 2, 0, 1, 2]),
    )
    data = data_of(backbone, task)
    assert len(data.train) > len(lengths)
    for fold, part in enumerate(fold_data(data)):
        own = np.flatnonzero(task.folds == fold) if task.folds is not None else []
        np.testing.assert_array_equal(part.validation.labels, split.take(np.array(own)).labels)
        assert len(part.train.labels) + len(part.validation.labels) == offsets[-1]
    rows = token_rows(data.train, split, np.array([1]))
    assert len(data.train.items(rows)) == 90
    labels = [split.labels[item_folds(task) == fold][None, :, None] for fold in range(FOLDS)]
    np.testing.assert_array_equal(out_of_fold(task, labels)[0, :, 0], split.labels)


def test_gates_of_folds_are_those_of_all_their_examples() -> None:
    chance = np.random.default_rng(0)
    values = [chance.random(size) for size in (5, 7, 4)]
    parts = [
        (Gate(layer=1, module="lora", role="query", mean=float(v.mean()), deviation=float(v.std())),)
        for v in values
    ]
    (gate,) = pooled_gates(parts, [5, 7, 4])
    every = np.concatenate(values)
    assert gate.mean == pytest.approx(every.mean()) and gate.deviation == pytest.approx(every.std())
    assert pooled_gates([(), ()], [1, 1]) == ()


def test_a_mixture_reports_gates_out_of_fold(backbone: Backbone) -> None:
    data = data_of(backbone, folded(task_of_kind("classification", 24, 4, 8)))
    training = begin(backbone, data, [Candidate(METHODS["unipelt"](), 0)], epochs=1, seed=0)
    (report,) = training.advance(Fidelity(epochs=1))
    assert report.gates and all(0 < gate.mean < 1 for gate in report.gates)


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_is_solved_without_the_fold_it_scores(kind: str, backbone: Backbone) -> None:
    task = folded(task_of_kind(kind, 30, 4, 8))
    data = data_of(backbone, task)
    with torch.no_grad():
        probe = linear_probe(backbone, data)
    for fold, part in enumerate(fold_data(data)):
        with torch.no_grad():
            alone = linear_probe(backbone, part)
        own = item_folds(task) == fold
        if alone.strength == probe.strength:
            np.testing.assert_allclose(probe.validation_logits[own], alone.validation_logits, atol=1e-4)
    assert probe.module_logits is not None and probe.module_logits.shape == probe.validation_logits.shape
    assert single(kind) == "regression" or not np.allclose(probe.module_logits, probe.validation_logits)
