"""A module cuts long texts in its export as it did in training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import WORDS, rows_of, sentences, task_of

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.data import Data, prepare
from trainers.export import ExportError, Module, load_export, write_export
from trainers.fidelity import Fidelity
from trainers.method import METHODS
from trainers.splits import Split
from trainers.stack import Candidate
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import Training, logits_of, start

CLASSES = 2


def decided_at_the_end(count: int, seed: int) -> Split:
    """Texts of 100 words, of which only the last tells the label."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, CLASSES, count)
    rest = [word for word in WORDS if word not in ("good", "bad")]
    texts = [" ".join([*chance.choice(rest, 99), ("bad", "good")[label]]) for label in labels]
    return Split(tuple(texts), None, labels)


@pytest.fixture(scope="module")
def task() -> Task:
    return task_of(*(decided_at_the_end(count, count) for count in (120, 40, 40)), labels=CLASSES)


def trained(data: Data, backbone: Backbone, epochs: int) -> Training:
    training = start(
        backbone, data, [Candidate(METHODS["lora"](learning_rate=2e-2), 0)], epochs=epochs, seed=0
    )
    training.advance(Fidelity(epochs=epochs))
    return training


def exported(folder: Path, backbone: Backbone, data: Data, training: Training, truncation: str) -> Path:
    ((config, state),) = training.deployed()
    write_export(
        folder,
        Module(config, 0, state),
        backbone,
        data.task,
        data.max_length,
        training.logits[0],
        {},
        truncation=truncation,
    )
    return folder


def test_a_text_that_is_decided_at_its_end_is_learned_and_predicted(
    task: Task, backbone: Backbone, tmp_path: Path
) -> None:
    data = prepare(task, backbone, "head+tail")
    assert data.max_length == backbone.max_length == 64
    training = trained(data, backbone, 8)
    accuracy = task.metrics(task.validation, training.logits[0])["accuracy"]
    assert accuracy > 0.9
    folder = exported(tmp_path / "module", backbone, data, training, "head+tail")
    assert json.loads((folder / "peltier.json").read_text())["truncation"] == "head+tail"
    said = [row["label"] for row in load_export(folder, backbone).predict(task.test.texts)]
    right = [task.labels[label] for label in task.test.labels]
    assert np.mean([one == other for one, other in zip(said, right, strict=True)]) > 0.9


def test_an_export_that_does_not_say_how_it_cuts_keeps_the_head(
    task: Task, backbone: Backbone, tmp_path: Path
) -> None:
    data = prepare(task, backbone)
    training = trained(data, backbone, 1)
    folder = exported(tmp_path / "module", backbone, data, training, "head")
    manifest = json.loads((folder / "peltier.json").read_text())
    assert manifest.pop("truncation") == "head"
    (folder / "peltier.json").write_text(json.dumps(manifest))
    logits = load_export(folder, backbone).logits(task.test)
    head = tokenise(task.test, backbone.tokenizer, data.max_length)
    assert np.allclose(logits, logits_of(training.stack, head)[0], atol=1e-4)


def test_a_module_that_cuts_otherwise_than_it_says_is_not_released(
    task: Task, backbone: Backbone, tmp_path: Path
) -> None:
    data = prepare(task, backbone, "head+tail")
    training = trained(data, backbone, 1)
    with pytest.raises(ExportError, match="differs from the trained one"):
        exported(tmp_path / "module", backbone, data, training, "head")


def test_a_way_to_cut_that_is_not_known_here_is_refused(
    task: Task, backbone: Backbone, tmp_path: Path
) -> None:
    data = prepare(task, backbone)
    folder = exported(tmp_path / "module", backbone, data, trained(data, backbone, 1), "head")
    manifest = json.loads((folder / "peltier.json").read_text())
    (folder / "peltier.json").write_text(json.dumps({**manifest, "truncation": "middle"}))
    with pytest.raises(ExportError, match="cuts long texts by 'middle'.*upgrade peltier"):
        load_export(folder, backbone)


def test_words_are_cut_by_neither(backbone: Backbone, tmp_path: Path) -> None:
    parts = [rows_of("token-classification", 12, seed) for seed in range(3)]
    words = task_of(*parts, kind="token-classification", metric="token_accuracy")
    data = prepare(words, backbone)
    both = prepare(words, backbone, "head+tail")
    assert np.array_equal(data.train.ids, both.train.ids)
    folder = exported(tmp_path / "module", backbone, data, trained(data, backbone, 1), "head")
    assert json.loads((folder / "peltier.json").read_text())["truncation"] is None
    assert len(list(load_export(folder, backbone).predict(parts[2].texts))) == 12


def test_short_texts_are_the_same_under_both(backbone: Backbone) -> None:
    task = task_of(sentences(40), sentences(12, 1), sentences(9, 2))
    head, both = prepare(task, backbone), prepare(task, backbone, "head+tail")
    assert np.array_equal(head.test.ids, both.test.ids) and head.max_length == both.max_length
