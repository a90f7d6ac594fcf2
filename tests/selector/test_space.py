"""Configurations to Optuna's parameters and back, and the choice of methods."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial, TrialState, create_trial
from tiny import SIZES, sentences, task_of, task_of_kind
from transformers import AutoConfig, AutoModel

from selector.parameters import METHOD, parameters, suggest
from selector.space import FIRST, Space, choose_methods, defaults, space_of
from trainers.domains import Choice, Int
from trainers.families import FAMILIES
from trainers.method import METHODS
from trainers.methods.lora import LoRAConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.sites import Site, sites_of
from trainers.task import Split

SEARCHED = [method for method in METHODS.values() if method.searched == "always"]
SPACE = space_of(SEARCHED)


def sites(family: str) -> tuple[Site, ...]:
    with torch.device("meta"):
        return sites_of(
            AutoModel.from_config(AutoConfig.for_model(family, **SIZES[family])), FAMILIES[family], 32
        )


BERT = sites("bert")


@pytest.fixture
def study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=RandomSampler(seed=0))


def test_what_optuna_recorded_is_what_parameters_rebuilds(study: optuna.Study) -> None:
    methods = set()
    for _ in range(60):
        trial = study.ask()
        config = suggest(trial, SPACE)
        values, distributions = parameters(config, SPACE)
        assert (values, distributions) == (trial.params, trial.distributions)
        create_trial(state=TrialState.RUNNING, params=values, distributions=distributions)
        methods.add(config.name)
    assert methods == {method.name for method in SEARCHED}


def test_fields_are_asked_in_order_under_the_method_with_its_own_domains() -> None:
    values, distributions = parameters(LoRAConfig(rank=4), SPACE)
    searched = [name for name in LoRAConfig().values() if name != "focal"]
    assert list(values) == [METHOD, *(f"lora.{name}" for name in searched)]
    assert distributions["lora.rank"] == IntDistribution(1, 64, log=True)
    assert distributions["lora.learning_rate"] == FloatDistribution(1e-4, 2e-2, log=True)


def test_a_union_is_only_asked_for_the_sizes_of_its_modules() -> None:
    asked = {
        METHOD: "unipelt",
        "unipelt.learning_rate": 1e-3,
        "unipelt.weight_decay": 0.0,
        "unipelt.layers": "all",
        "unipelt.warmup": 0.06,
        "unipelt.class_weights": "none",
        "unipelt.modules": "AL",
        "unipelt.gates": "APL",
        "unipelt.pooling": "real tokens",
        "unipelt.gate_start": 0.5,
        "unipelt.gate_penalty": 0.0,
        "unipelt.bottleneck": 16,
        "unipelt.rank": 2,
    }
    # FixedTrial raises when anything else is asked.
    config = suggest(FixedTrial(asked), SPACE)  # type: ignore[arg-type]
    assert config == UniPELTConfig(learning_rate=1e-3, modules="AL", bottleneck=16, rank=2)
    assert parameters(config, SPACE)[0] == asked


def test_defaults_give_every_method_one_before_any_gets_its_second() -> None:
    found = defaults(SPACE)
    assert [config.name for config in found[: len(SEARCHED)]] == [method.name for method in SEARCHED]
    assert len(found) == sum(len(method.strong_defaults()) for method in SEARCHED) > len(SEARCHED)
    assert all(math.isfinite(config.learning_rate) for config in found)


def test_without_names_every_searched_method_is_chosen() -> None:
    chosen, reasons = choose_methods(None, BERT)
    assert {method.name for method in chosen} == {method.name for method in SEARCHED}
    assert [method.name for method in chosen[:5]] == list(FIRST)
    assert reasons == []
    assert choose_methods(["full"], BERT)[0] == [METHODS["full"]]
    assert choose_methods(["lora", "adapter", "lora"], BERT)[0] == [LoRAConfig, METHODS["adapter"]]


def test_a_method_that_has_no_place_on_the_backbone_is_left_out_with_the_reason() -> None:
    methods, reasons = choose_methods(["lora", "bitfit"], sites("llama"))
    assert methods == [LoRAConfig]
    assert reasons == ["bitfit is left out: the backbone does not offer biases"]


def test_a_backbone_without_biases_gets_no_union_with_bitfit() -> None:
    found = space_of([UniPELTConfig], sites("llama")).domains["unipelt"]["modules"]
    assert isinstance(found, Choice) and found.options == ("AP", "AL", "PL", "APL", "LI", "APLI")
    assert found.contains("AI") and not found.contains("AB")
    assert space_of([UniPELTConfig], BERT).domains["unipelt"]["modules"].contains("APLB")


def test_class_weights_are_searched_where_the_task_has_unbalanced_classes() -> None:
    rows = sentences(60)
    skewed = Split(rows.texts, None, np.repeat([0, 1, 2], [40, 10, 10]))
    even = Split(rows.texts, None, np.repeat([0, 1, 2], 20))
    wide = space_of([LoRAConfig], BERT, task_of(skewed, rows, rows))
    assert wide.domains["lora"]["class_weights"] == Choice("none", "balanced")
    narrow = space_of([LoRAConfig], BERT, task_of(even, rows, rows))
    assert "lora.class_weights" not in parameters(LoRAConfig(), narrow)[0]
    assert "lora.class_weights" in parameters(LoRAConfig(), wide)[0]
    assert defaults(narrow) == defaults(wide)
    # what was asked for by name stays possible
    assert narrow.domains["lora"]["class_weights"].contains("balanced")
    several = space_of([LoRAConfig], BERT, task_of_kind("multi-label", 20, 10, 10))
    assert not several.domains["lora"]["class_weights"].contains("balanced")


def test_defaults_outside_a_narrowed_space_move_into_it() -> None:
    domains = {**SPACE.domains["lora"], "rank": Int(2, 4), "targets": Choice("all linear")}
    (found,) = defaults(Space((LoRAConfig,), {"lora": domains}))
    assert found == LoRAConfig(rank=4, targets="all linear")


def test_values_find_one_configuration_and_outside_the_space_none() -> None:
    narrow = Space((LoRAConfig,), {"lora": {**SPACE.domains["lora"], "rank": Int(2, 4)}})
    values = LoRAConfig(rank=4).values()
    assert narrow.find(LoRAConfig, values) == LoRAConfig(rank=4)
    assert narrow.only(["lora"]).find(LoRAConfig, values) is narrow.find(LoRAConfig, values)
    assert narrow.find(LoRAConfig, {**values, "rank": 8}) is None
    assert SPACE.find(LoRAConfig, {**values, "rank": 8}) == LoRAConfig(rank=8)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lora", "lorra"], "method 'lorra' is unknown; methods: adapter, .*unipelt"),
        (["linear_probe"], "linear_probe runs as a baseline of every study and is not searched; methods: "),
        ([], "no method is named; methods: adapter"),
    ],
)
def test_a_wrong_method_name_is_refused_with_the_possible_ones(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_methods(names, BERT)
