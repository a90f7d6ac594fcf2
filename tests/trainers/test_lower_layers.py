"""Layers below all modules, run once for all candidates or never again: every number stays what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import CLASSES, SIZES, batch_of, data_of, make_backbone, rows_of, task_of, task_of_kind, tokens_of
from torch import Tensor

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.data import Data, prepare
from trainers.fidelity import Fidelity
from trainers.folds import AnyTraining, begin
from trainers.heads import losses
from trainers.kept_outputs import KeptOutputs
from trainers.method import METHODS, MethodConfig
from trainers.methods.adapter import AdapterConfig
from trainers.methods.bitfit import BitFitConfig
from trainers.methods.full import FullConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.prompt import PromptConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.reusing import can_keep, reusing
from trainers.stack import Candidate, Stack, State
from trainers.tokens import Tokens
from trainers.train import start

SHARING = ("albert", "t5")
"""ALBERT runs one layer many times; in T5 the first layer makes the position bias of all."""
DEPTH = {"gpt2": "n_layer", "distilbert": "n_layers", "t5": "num_layers"}
LAYERS = 4
KINDS: tuple[MethodConfig, ...] = (
    LoRAConfig(layers="top half", dropout=0.1),
    AdapterConfig(layers="top 1"),
    PrefixConfig(layers="top half", prefix_length=3),
    BitFitConfig(layers="every second"),
    UniPELTConfig(layers="top half", modules="APLB", prefix_length=3),
)


@pytest.fixture(scope="module", params=sorted(SIZES))
def deep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Four layers of each family."""
    depth = {DEPTH.get(request.param, "num_hidden_layers"): LAYERS}
    folder = tmp_path_factory.mktemp(request.param)
    return load(str(make_backbone(folder, request.param, **depth)), dtype="fp32")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("bert")
    return load(str(make_backbone(folder, "bert", num_hidden_layers=LAYERS)), dtype="fp32")


def without(backbone: Backbone) -> Backbone:
    """The same weights, in one piece."""
    plain = replace(backbone)
    plain.__dict__["lower_layers"] = None
    return plain


def neighbours(config: MethodConfig) -> list[Candidate]:
    """Two of a kind; one of a kind that trains alone."""
    rates = (config.learning_rate,) if config.alone else (5e-3, 9e-3)
    return [Candidate(replace(config, learning_rate=rate), seed) for seed, rate in enumerate(rates)]


def computed(stack: Stack, tokens: Tokens) -> tuple[Tensor, list[State]]:
    """Logits of a padded batch and the gradients of its loss."""
    with stack.attached():
        (batch,) = reusing(stack, tokens, [np.arange(6)])
        logits = stack.logits(batch)
        (rows,) = torch.autograd.grad(losses(logits, batch.labels).sum(), stack.parameters)
    return logits.detach(), stack.unpack(rows)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    limit = tolerance * float(expected.abs().max()) + 1e-7
    assert float((found - expected).abs().max()) <= limit


@contextmanager
def counted(backbone: Backbone) -> Iterator[list[int]]:
    """The examples that the lowest layer computes, call by call."""
    seen: list[int] = []
    (first,) = (site for site in backbone.sites if site.layer == 0 and site.role == "value")
    value = backbone.model.get_submodule(first.module)
    handle = value.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        yield seen
    finally:
        handle.remove()


# ------------------------------------------------------------------------ the same, on all families


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.name)
def test_candidates_above_kept_outputs_have_the_logits_and_gradients_of_the_whole_model(
    config: MethodConfig, deep: Backbone
) -> None:
    tokens, several = tokens_of(deep, 12), neighbours(config)
    stack = Stack(deep, several, CLASSES)
    logits, gradients = computed(stack, tokens)
    expected, whole = computed(Stack(without(deep), several, CLASSES), tokens)
    assert_close(logits, expected)
    for own, other in zip(gradients, whole, strict=True):
        for name, gradient in other.items():
            assert_close(own[name], gradient)
    parted = deep.model_type not in SHARING and len(stack.places) > 0  # Llama has no biases
    assert (stack.first_layer > 0) == can_keep(stack, tokens) == parted


def test_layers_below_all_modules_run_on_a_batch_once_and_not_for_each_candidate(deep: Backbone) -> None:
    if deep.model_type in SHARING:
        pytest.skip("its layers cannot be parted")
    stack, batch = Stack(deep, neighbours(LoRAConfig(layers="top half")), CLASSES), batch_of(deep)
    with counted(deep) as seen, stack.attached(), torch.no_grad():
        stack.logits(batch)
    assert seen == [len(batch)]


# ------------------------------------------------------------------------------- whole trainings


def trained(backbone: Backbone, data: Data, config: MethodConfig, patience: int | None = None) -> AnyTraining:
    training = begin(backbone, data, neighbours(config), epochs=2, seed=1, patience=patience)
    training.advance(Fidelity(epochs=2))
    return training


@pytest.mark.parametrize("config", [KINDS[0], KINDS[4], FullConfig(layers="top 1")], ids=lambda c: c.name)
def test_training_on_kept_outputs_ends_where_training_of_the_whole_model_ends(
    config: MethodConfig, bert: Backbone
) -> None:
    data = data_of(bert, task_of_kind("classification", 40, 20, 20))
    ends = [trained(backbone, data, config) for backbone in (bert, without(bert))]
    for found, expected in zip(ends[0].stack.states(), ends[1].stack.states(), strict=True):
        for name, tensor in expected.items():
            assert torch.allclose(found[name], tensor, atol=1e-5), name
    assert np.allclose(ends[0].logits, ends[1].logits, atol=1e-5)
    assert np.allclose(ends[0].test_logits(), ends[1].test_logits(), atol=1e-5)


def test_words_are_trained_on_kept_outputs_of_their_rows(bert: Backbone) -> None:
    data = data_of(bert, task_of_kind("token-classification", 12, 8, 4))
    found, expected = (trained(b, data, KINDS[0]).logits for b in (bert, without(bert)))
    assert np.allclose(found, expected, atol=1e-5)


def test_candidates_that_stop_early_on_kept_outputs_stop_where_they_would(bert: Backbone) -> None:
    data = data_of(bert, task_of_kind("classification", 24, 12, 4))
    found, expected = (trained(b, data, KINDS[0], patience=1).logits for b in (bert, without(bert)))
    assert np.allclose(found, expected, atol=1e-5)


def test_folds_share_what_is_kept_of_the_training_rows_and_read_their_own(bert: Backbone) -> None:
    rows = rows_of("classification", 24)
    task = replace(task_of(rows, rows, rows), folds=np.arange(24) % 3)
    backbone, data = replace(bert), prepare(task, bert)
    found = trained(backbone, data, KINDS[0])
    expected = trained(without(bert), data, KINDS[0])
    assert np.allclose(found.logits, expected.logits, atol=1e-5)
    assert np.allclose(found.test_logits(), expected.test_logits(), atol=1e-5)
    assert len(backbone.kept_outputs) == 2  # training rows, which are the validation rows, and test rows


def test_an_epoch_runs_no_lower_layer_once_they_are_kept(bert: Backbone) -> None:
    data = data_of(bert, task_of_kind("classification", 40, 20, 4))
    training = start(bert, data, neighbours(KINDS[0]), epochs=4, seed=1)
    with counted(bert) as seen:
        training.advance(Fidelity(epochs=1))
        assert sum(seen) == 60
        training.advance(Fidelity(epochs=2))
    assert sum(seen) == 60


def test_dropping_the_candidates_with_low_modules_lets_the_others_begin_higher(bert: Backbone) -> None:
    data = data_of(bert, task_of_kind("classification", 24, 12, 4))
    configs = (LoRAConfig(), LoRAConfig(layers="top 1"), LoRAConfig(layers="top half"))
    training = start(bert, data, [Candidate(c, i) for i, c in enumerate(configs)], epochs=4, seed=1)
    begins = []
    for epochs, kept in enumerate(([1, 2], [0]), start=1):
        begins.append(training.stack.first_layer)
        training.advance(Fidelity(epochs=epochs))
        training.select(kept)
    assert [*begins, training.stack.first_layer] == [0, 2, 3]


def test_bits_do_not_depend_on_what_was_kept_before(bert: Backbone) -> None:
    data = data_of(bert, task_of_kind("classification", 40, 20, 4))
    used, fresh = replace(bert), replace(bert)
    trained(used, data, AdapterConfig(layers="top half"))
    trained(used, data, LoRAConfig(layers="top 1"))
    found, expected = (trained(b, data, KINDS[4]).stack.states() for b in (used, fresh))
    for own, other in zip(found, expected, strict=True):
        assert all(torch.equal(own[name], other[name]) for name in other)


# ------------------------------------------------------------------------------ when nothing is kept


@pytest.mark.parametrize(
    "config",
    [
        LoRAConfig(),
        LoRAConfig(layers="0 3"),
        PromptConfig(),
        PrefixConfig(layers="top half", positions="shifted"),
        METHODS["linear_probe"](),
    ],
    ids=["all layers", "the first and the last", "prompt", "shifted positions", "head only"],
)
def test_stacks_that_change_what_lies_below_begin_at_the_embeddings(
    config: MethodConfig, bert: Backbone
) -> None:
    stack = Stack(bert, [Candidate(config, 0)], CLASSES)
    assert stack.first_layer == 0 and not can_keep(stack, tokens_of(bert))


def test_gates_that_average_over_padding_get_it_computed(bert: Backbone) -> None:
    config = UniPELTConfig(layers="top half", pooling="all tokens")
    stack, tokens = Stack(bert, neighbours(config), CLASSES), tokens_of(bert)
    assert stack.first_layer == 2 and not can_keep(stack, tokens)
    found, _ = computed(stack, tokens)
    expected, _ = computed(Stack(without(bert), stack.candidates, CLASSES), tokens)
    assert_close(found, expected)


def test_nothing_is_kept_where_memory_would_not_hold_training_and_validation_rows(bert: Backbone) -> None:
    small, tokens = replace(bert), tokens_of(bert)
    size = len(tokens.ids) * bert.hidden_size * 4
    for most, fits in ((2 * size, True), (2 * size - 1, False)):
        small.__dict__["kept_outputs"] = KeptOutputs(bert.device, float(most))
        assert can_keep(Stack(small, neighbours(KINDS[0]), CLASSES), tokens) == fits


def test_quantised_layers_stay_in_one_piece(bert: Backbone) -> None:
    assert replace(bert, precision="8bit").lower_layers is None


# -------------------------------------------------------------------------------------- what is kept


def test_splits_are_told_apart_however_alike_they_are(bert: Backbone) -> None:
    kept, first, second = KeptOutputs(bert.device), tokens_of(bert), tokens_of(bert)
    assert float(kept.of(first, 1, lambda: torch.ones(1))) == 1
    assert float(kept.of(second, 1, lambda: torch.zeros(1))) == 0
    assert float(kept.of(first, 2, lambda: torch.full((1,), 2.0))) == 2
    assert float(kept.of(first, 1, lambda: torch.zeros(1))) == 1


def test_what_is_kept_goes_with_its_data(bert: Backbone) -> None:
    kept, tokens = KeptOutputs(bert.device), tokens_of(bert)
    kept.of(tokens, 1, lambda: torch.ones(4))
    assert kept.bytes == 16
    del tokens
    assert len(kept) == 0 and kept.bytes == 0


def test_what_was_used_longest_ago_makes_room(bert: Backbone) -> None:
    kept, splits = KeptOutputs(bert.device, most_bytes=8.0), [tokens_of(bert) for _ in range(3)]
    for place in (0, 1, 0, 2):
        kept.of(splits[place], 1, lambda place=place: torch.full((1,), float(place)))
    assert kept.bytes == 8
    assert float(kept.of(splits[0], 1, lambda: torch.full((1,), 9.0))) == 0
    assert float(kept.of(splits[1], 1, lambda: torch.full((1,), 9.0))) == 9
