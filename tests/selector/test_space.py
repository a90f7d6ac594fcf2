"""Configurations to Optuna's parameters and back, and the choice of methods."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial, TrialState, create_trial

from selector.space import METHOD, choose_methods, defaults, parameters, suggest
from trainers.method import METHODS
from trainers.methods.lora import LoRAConfig
from trainers.methods.unipelt import UniPELTConfig

SEARCHED = [method for method in METHODS.values() if method.searched]
ALL_ROLES = frozenset().union(*(method.roles() for method in METHODS.values()))


@pytest.fixture
def study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=RandomSampler(seed=0))


def test_what_optuna_recorded_is_what_parameters_rebuilds(study: optuna.Study) -> None:
    methods = set()
    for _ in range(60):
        trial = study.ask()
        config = suggest(trial, SEARCHED)
        values, distributions = parameters(config, SEARCHED)
        assert (values, distributions) == (trial.params, trial.distributions)
        create_trial(state=TrialState.RUNNING, params=values, distributions=distributions)
        methods.add(config.name)
    assert methods == {method.name for method in SEARCHED}


def test_fields_are_asked_in_order_under_the_method_with_its_own_domains() -> None:
    values, distributions = parameters(LoRAConfig(rank=4), SEARCHED)
    assert list(values) == [METHOD, *(f"lora.{name}" for name in LoRAConfig().values())]
    assert distributions["lora.rank"] == IntDistribution(1, 64, log=True)
    assert distributions["lora.learning_rate"] == FloatDistribution(2e-4, 2e-2, log=True)


def test_a_union_is_only_asked_for_the_sizes_of_its_modules() -> None:
    asked = {
        METHOD: "unipelt",
        "unipelt.learning_rate": 1e-3,
        "unipelt.weight_decay": 0.0,
        "unipelt.modules": "AL",
        "unipelt.gated": True,
        "unipelt.bottleneck": 16,
        "unipelt.rank": 2,
    }
    # FixedTrial raises when anything else is asked.
    config = suggest(FixedTrial(asked), SEARCHED)  # type: ignore[arg-type]
    assert config == UniPELTConfig(learning_rate=1e-3, modules="AL", bottleneck=16, rank=2)
    assert parameters(config, SEARCHED)[0] == asked


def test_defaults_give_every_method_one_before_any_gets_its_second() -> None:
    found = defaults(SEARCHED)
    assert [config.name for config in found[: len(SEARCHED)]] == [method.name for method in SEARCHED]
    assert len(found) == sum(len(method.strong_defaults()) for method in SEARCHED) > len(SEARCHED)
    assert all(math.isfinite(config.learning_rate) for config in found)


def test_without_names_every_searched_method_is_chosen() -> None:
    assert choose_methods(None, ALL_ROLES) == (SEARCHED, [])
    assert choose_methods(["lora", "adapter", "lora"], ALL_ROLES)[0] == [LoRAConfig, METHODS["adapter"]]


def test_a_method_whose_roles_are_missing_is_left_out_with_the_reason() -> None:
    missing = sorted(METHODS["prefix"].roles())
    methods, reasons = choose_methods(["lora", "prefix"], LoRAConfig.roles() - METHODS["prefix"].roles())
    assert methods == [LoRAConfig]
    assert reasons == [f"prefix is left out: the backbone does not offer {', '.join(missing)}"]


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
        choose_methods(names, ALL_ROLES)
