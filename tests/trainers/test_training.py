"""Training a stack to a fidelity: the order of data, cuts on the way, length buckets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import CLASSES, data_of, sentences, task_of, task_of_kind, tokens_of

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.batches import batches, evaluation_order, training_order
from trainers.data import Data, choose_length
from trainers.fidelity import Fidelity
from trainers.method import METHODS
from trainers.stack import Candidate, Stack
from trainers.tokenising import tokenise
from trainers.train import Training, logits_of, start


@pytest.fixture(scope="module")
def data(backbone: Backbone) -> Data:
    held_out = sentences(20, seed=1)
    return data_of(backbone, task_of(sentences(40), held_out, held_out))


def candidates(count: int = 4) -> list[Candidate]:
    return [Candidate(METHODS["lora"](rank=2 + i, learning_rate=1e-2), seed=i) for i in range(count)]


def finish(training: Training) -> dict[int, dict[str, torch.Tensor]]:
    training.advance(Fidelity(epochs=4))
    seeds = [candidate.seed for candidate in training.stack.candidates]
    return dict(zip(seeds, training.stack.states(), strict=True))


def test_candidates_that_stay_train_as_if_nobody_had_left(backbone: Backbone, data: Data) -> None:
    whole = finish(start(backbone, data, candidates(), epochs=4, seed=0))
    cut = start(backbone, data, candidates(), epochs=4, seed=0)
    cut.advance(Fidelity(epochs=1))
    cut.select([1, 3])
    cut.advance(Fidelity(epochs=2))
    cut.select([1])
    stayed = finish(cut)
    assert list(stayed) == [3]
    for name, tensor in stayed[3].items():
        assert torch.allclose(tensor, whole[3][name], atol=1e-4), name


def test_advancing_in_steps_equals_advancing_at_once(backbone: Backbone, data: Data) -> None:
    at_once = start(backbone, data, candidates(2), epochs=4, seed=0)
    in_steps = start(backbone, data, candidates(2), epochs=4, seed=0)
    (report, _) = at_once.advance(Fidelity(epochs=4))
    for epochs in (1, 2, 4):
        (step, _) = in_steps.advance(Fidelity(epochs=epochs))
        assert step.epochs == epochs
    assert step.metrics == pytest.approx(report.metrics)
    assert torch.equal(at_once.stack.parameters, in_steps.stack.parameters)


@pytest.mark.parametrize(
    "given",
    [
        [Candidate(METHODS["lora"](rank=2 + i, dropout=0.1), seed=i) for i in range(2)],
        [Candidate(METHODS["full"](), seed=0)],
    ],
    ids=["lora", "full"],
)
def test_an_epoch_in_parts_is_the_whole_one_bit_for_bit(
    given: list[Candidate], backbone: Backbone, data: Data
) -> None:
    at_once, in_parts = (start(backbone, data, given, epochs=2, seed=0) for _ in range(2))
    for epochs in (0.25, 0.5, 1.0, 2.0):
        reports = in_parts.advance(Fidelity(epochs=epochs))
        assert {report.epochs for report in reports} == {epochs}
    whole = at_once.advance(Fidelity(epochs=2))
    assert torch.equal(at_once.stack.parameters, in_parts.stack.parameters)
    assert np.array_equal(at_once.logits, in_parts.logits)
    assert [one.train_loss for one in reports] == [one.train_loss for one in whole]


def test_the_loss_of_half_an_epoch_is_the_mean_of_what_was_seen(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = data_of(backbone, task_of_kind("token-classification", 40, 10, 10))
    training = start(backbone, words, candidates(1), epochs=1, seed=0)
    monkeypatch.setattr(training.optimizer, "step", lambda *given: None)  # nothing is learned on the way
    (report,) = training.advance(Fidelity(epochs=0.5))
    seen = np.concatenate(training_order(words.train.lengths, 16, 0)[:2])  # of three batches
    (batch,) = batches(words.train, [seen], 0, torch.device("cpu"))
    with torch.no_grad(), training.stack.attached():
        logits = training.stack.logits(batch)[0]
    expected = torch.nn.functional.cross_entropy(logits, batch.labels)
    assert report.train_loss == pytest.approx(float(expected), abs=1e-5)


def test_training_learns_what_a_word_tells(backbone: Backbone) -> None:
    rows = sentences(120)
    labels = np.array([int("good" in text.split()) for text in rows.texts])
    split = type(rows)(rows.texts, None, labels)
    data = data_of(backbone, task_of(split, split, split, labels=2))
    training = start(backbone, data, [Candidate(METHODS["lora"](learning_rate=2e-2), 0)], epochs=15, seed=0)
    (report,) = training.advance(Fidelity(epochs=15))
    assert report.metrics["accuracy"] > 0.95
    assert report.train_loss < 0.2


def test_a_candidate_that_diverges_leaves_its_neighbours_alone(backbone: Backbone, data: Data) -> None:
    training = start(backbone, data, candidates(2), epochs=2, seed=0)
    with torch.no_grad():
        training.stack.parameters[0, 100] = float("nan")
    broken, healthy = training.advance(Fidelity(epochs=2))
    (alone,) = start(backbone, data, candidates(2)[1:], epochs=2, seed=0).advance(Fidelity(epochs=2))
    assert np.isnan(broken.train_loss) and np.isnan(broken.metrics["accuracy"])
    assert healthy.train_loss == pytest.approx(alone.train_loss, abs=1e-5)


def test_each_epoch_shows_every_row_once_in_another_order() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 1003)
    first, second = (training_order(lengths, 16, seed) for seed in (0, 1))
    for order in (first, second):
        assert sorted(np.concatenate(order).tolist()) == list(range(1003))
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()
    assert np.concatenate(first).tolist() == np.concatenate(training_order(lengths, 16, 0)).tolist()


@pytest.mark.parametrize("rows", [200, 6000])
@pytest.mark.parametrize("shape", ["phrases", "reviews"])
def test_length_buckets_keep_padding_under_fifteen_percent(shape: str, rows: int) -> None:
    chance = np.random.default_rng(0)
    if shape == "phrases":  # as in SST-2: half of them up to 10 tokens, and a tail
        lengths = 3 + chance.geometric(0.1, rows).clip(max=45)
    else:  # a few hundred tokens, some cut at 512
        lengths = chance.lognormal(5.2, 0.7, rows).astype(np.int64).clip(8, 512)
    padded = {
        name: sum(int(lengths[batch].max()) * len(batch) for batch in order)
        for name, order in {
            "training": training_order(lengths, 16, 0),
            "evaluation": evaluation_order(lengths, 64) if rows > 1000 else [],
            "unsorted": np.array_split(chance.permutation(rows), rows // 16),
        }.items()
    }
    shares = {name: 1 - lengths.sum() / size for name, size in padded.items() if size}
    assert shares.pop("unsorted") > 0.4  # what there is to save
    assert max(shares.values()) < 0.15


def test_batches_hold_the_tokens_of_their_rows(backbone: Backbone) -> None:
    split = sentences(30)
    tokens = tokenise(split, backbone.tokenizer, 32)
    for batch in batches(tokens, evaluation_order(tokens.lengths, 7), 0, torch.device("cpu")):
        for ids, mask, label, row in zip(
            batch.input_ids, batch.attention_mask, batch.labels, batch.items, strict=True
        ):
            assert ids[mask.bool()].tolist() == backbone.tokenizer(split.texts[row])["input_ids"]
            assert ids[~mask.bool()].sum() == 0
            assert label == split.labels[row]


def test_the_maximum_length_cuts_only_the_longest_hundredth(backbone: Backbone) -> None:
    tokens = tokens_of(backbone, 400)
    length = choose_length(tokens.lengths, 512)
    assert length % 8 == 0
    assert (tokens.lengths <= length).mean() >= 0.99
    assert choose_length(tokens.lengths, 10) == 10


def test_candidates_of_different_methods_are_refused_in_one_stack(backbone: Backbone) -> None:
    mixed = [Candidate(METHODS[name](), 0) for name in ("lora", "adapter")]
    with pytest.raises(ValueError, match="one kind of candidate"):
        Stack(backbone, mixed, CLASSES)


def test_logits_come_in_the_order_of_the_rows(backbone: Backbone, data: Data) -> None:
    stack = Stack(backbone, candidates(2), CLASSES)
    together = logits_of(stack, data.validation)
    assert together.shape == (2, 20, CLASSES)
    split = sentences(20, seed=1)
    for row in (0, 7, 19):
        one = type(split)(split.texts[row : row + 1], None, split.labels[row : row + 1])
        alone = logits_of(stack, tokenise(one, backbone.tokenizer, 32))
        assert np.allclose(alone[:, 0], together[:, row], atol=1e-5)
