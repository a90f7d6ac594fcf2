"""A training that goes on from its checkpoints equals, bit for bit, one that was never interrupted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny import data_of, sentences, task_of

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.building import method_named
from trainers.data import Data
from trainers.fidelity import Fidelity, Report
from trainers.folds import AnyTraining, begin
from trainers.method import METHODS, MethodConfig
from trainers.resuming import Checkpoint, CheckpointError, checkpoint_from_bytes
from trainers.stack import Candidate

EPOCHS = 4


@pytest.fixture(scope="module")
def data(backbone: Backbone) -> Data:
    held_out = sentences(20, seed=1)
    return data_of(backbone, task_of(sentences(40), held_out, held_out))


def three(*configs: MethodConfig) -> list[Candidate]:
    """Three candidates that share a stack; one of a method whose candidates cannot."""
    if configs[0].alone:
        return [Candidate(configs[0], 5)]
    given = [configs[i % len(configs)] for i in range(3)]
    return [
        Candidate(replace(config, learning_rate=config.learning_rate * share), seed=5 + i)
        for i, (config, share) in enumerate(zip(given, (1, 0.5, 0.9), strict=True))
    ]


def carried(training: AnyTraining) -> list[Checkpoint]:
    """The checkpoints of a training, as they come back from a file."""
    checkpoints = training.checkpoints()
    assert checkpoints is not None
    return [checkpoint_from_bytes(checkpoint.to_bytes()) for checkpoint in checkpoints]


def facts(reports: Sequence[Report]) -> list[dict[str, object]]:
    """All that a report says but the time."""
    return [{name: value for name, value in asdict(one).items() if name != "seconds"} for one in reports]


def finish(training: AnyTraining, start: int) -> list[list[dict[str, object]]]:
    return [facts(training.advance(Fidelity(epochs=epoch))) for epoch in range(start, EPOCHS + 1)]


def assert_resumes(
    backbone: Backbone,
    data: Data,
    candidates: Sequence[Candidate],
    *,
    after: float = 2,
    patience: int | None = None,
) -> AnyTraining:
    """Interrupt a training after some epochs and a cut; returns the one that went on."""

    def began(some: Sequence[Candidate], checkpoints: list[Checkpoint] | None = None) -> AnyTraining:
        return begin(
            backbone,
            data,
            list(some),
            epochs=EPOCHS,
            seed=3,
            patience=patience,
            checkpoints=checkpoints,
        )

    undisturbed = began(candidates)
    undisturbed.advance(Fidelity(epochs=after))
    kept = list(range(len(candidates)))[:: len(candidates) - 1 or 1]
    undisturbed.select(kept)
    checkpoints = carried(undisturbed)
    resumed = began([candidates[i] for i in kept], checkpoints)
    following = math.floor(after) + 1
    assert finish(resumed, following) == finish(undisturbed, following)
    assert np.array_equal(resumed.logits, undisturbed.logits)
    assert np.array_equal(resumed.test_logits(), undisturbed.test_logits())
    for (_, one), (_, other) in zip(resumed.deployed(), undisturbed.deployed(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    return resumed


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_resumed_training_of_any_method_equals_an_uninterrupted_one(
    name: str, backbone: Backbone, data: Data
) -> None:
    if name != "linear_probe":  # it is not trained by steps
        assert_resumes(backbone, data, three(METHODS[name]()))


def test_dropout_goes_on_where_it_was(backbone: Backbone, data: Data) -> None:
    lora = METHODS["lora"]
    candidates = three(lora(rank=2, dropout=0.1), lora(rank=4, dropout=0.05), lora(rank=3))
    resumed = assert_resumes(backbone, data, candidates)
    without = [Candidate(replace(c.config, dropout=0.0), c.seed) for c in candidates[::2]]
    other = begin(backbone, data, without, epochs=EPOCHS, seed=3)
    other.advance(Fidelity(epochs=EPOCHS))
    assert not np.array_equal(resumed.logits[0], other.logits[0]), "dropout made no difference"


@pytest.mark.parametrize("after", [0.25, 1.5])
@pytest.mark.parametrize("patience", [None, 1])
def test_a_training_goes_on_inside_an_epoch(
    after: float, patience: int | None, backbone: Backbone, data: Data
) -> None:
    lora = METHODS["lora"]
    candidates = three(lora(rank=2, dropout=0.1, learning_rate=8e-3), lora(rank=3, learning_rate=5e-4))
    assert_resumes(backbone, data, candidates, after=after, patience=patience)


def test_a_checkpoint_from_before_epochs_had_parts_goes_on(backbone: Backbone, data: Data) -> None:
    candidates = three(METHODS["lora"]())
    undisturbed = begin(backbone, data, candidates, epochs=EPOCHS, seed=3)
    undisturbed.advance(Fidelity(epochs=1))
    old = [
        replace(one, facts={name: value for name, value in one.facts.items() if name != "losses"})
        for one in carried(undisturbed)
    ]
    resumed = begin(backbone, data, candidates, epochs=EPOCHS, seed=3, checkpoints=old)
    assert finish(resumed, 2) == finish(undisturbed, 2)


def test_candidates_of_different_sizes_stay_apart(backbone: Backbone, data: Data) -> None:
    prefix = METHODS["prefix"]
    assert_resumes(backbone, data, three(prefix(prefix_length=2), prefix(prefix_length=7)))


@pytest.mark.parametrize("after", [1, 2, 3])
def test_early_stopping_keeps_its_best_epoch_and_its_patience(
    after: int, backbone: Backbone, data: Data
) -> None:
    lora = METHODS["lora"]
    fast = Candidate(lora(rank=2, learning_rate=8e-3), 1)  # soon no better
    slow = [Candidate(lora(rank=rank, learning_rate=5e-4), rank) for rank in (2, 3)]
    assert_resumes(backbone, data, [fast, *slow], after=after, patience=1)
    assert_resumes(backbone, data, [slow[0], fast, slow[1]], after=after, patience=1)


def test_folds_go_on_one_by_one(backbone: Backbone, data: Data) -> None:
    rows = data.task.train
    task = replace(data.task, validation=rows, folds=np.arange(len(rows)) % 3)
    for after in (2, 0.5):
        assert_resumes(backbone, data_of(backbone, task), three(METHODS["lora"](dropout=0.1)), after=after)


@pytest.mark.parametrize("name", ["peft:ADALORA", "peft:LORA"])
def test_a_peft_training_is_taken_up_from_its_seed(name: str, backbone: Backbone, data: Data) -> None:
    candidates = [Candidate(method_named(name)(), 5)]
    undisturbed = begin(backbone, data, candidates, epochs=EPOCHS, seed=3)
    undisturbed.advance(Fidelity(epochs=2))
    assert undisturbed.checkpoints() is None, "what peft's own code remembers is not ours to tell"
    undisturbed.advance(Fidelity(epochs=EPOCHS))
    again = begin(backbone, data, candidates, epochs=EPOCHS, seed=3)
    again.advance(Fidelity(epochs=EPOCHS))
    assert np.array_equal(again.logits, undisturbed.logits)


def test_what_is_no_checkpoint_is_refused(backbone: Backbone, data: Data) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        checkpoint_from_bytes(b"not safetensors")
    candidates = three(METHODS["lora"]())
    training = begin(backbone, data, candidates, epochs=EPOCHS, seed=3)
    training.advance(Fidelity(epochs=1))
    earlier = carried(training)
    training.advance(Fidelity(epochs=2))
    later = carried(training)
    with pytest.raises(CheckpointError, match="not of one stack: their epochs are"):
        begin(backbone, data, candidates, epochs=EPOCHS, seed=3, checkpoints=[earlier[0], *later[1:]])


def test_a_checkpoint_is_a_safetensors_file_that_says_what_it_holds(backbone: Backbone, data: Data) -> None:
    training = begin(backbone, data, three(METHODS["lora"](dropout=0.1)), epochs=EPOCHS, seed=3)
    training.advance(Fidelity(epochs=1))
    (first, *_) = training.checkpoints() or ()
    stored = first.to_bytes()
    header = json.loads(stored[8 : 8 + int.from_bytes(stored[:8], "little")])
    kinds = {name.partition("/")[0] for name in header if name != "__metadata__"}
    assert kinds == {"chance", "parameters", "mean", "square"}
    assert first.facts["epochs"] == 1 and first.facts["steps"] == len(training.data.train.labels) // 16 + 1
