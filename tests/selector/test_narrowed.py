"""Spaces with what a user leaves of them, and the wishes that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from tiny import SIZES
from transformers import AutoConfig, AutoModel

from selector.narrowed import narrowed, searched_space
from selector.narrowing import Narrowing, read_options
from selector.parameters import parameters, suggest
from selector.space import Space, defaults, space_of
from trainers.domains import Choice, Domain, Float, Int
from trainers.families import FAMILIES
from trainers.method import METHODS
from trainers.methods.lora import LoRAConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.sites import Site, sites_of


def sites(family: str) -> tuple[Site, ...]:
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(family, **SIZES[family]))
        return sites_of(model, FAMILIES[family], 32)


BERT = sites("bert")


def left_of(method: str, *, names: list[str] | None = None, **fields: Any) -> Mapping[str, Domain]:
    """The domains of one method when so much is left of its fields."""
    return searched_space(names, {method: fields}, BERT)[0].domains[method]


def test_one_value_a_range_and_a_list_each_narrow_their_field() -> None:
    found = left_of(
        "lora", rank=8, learning_rate={"low": 1e-3, "high": 5e-3}, dropout=[0.0, 0.1], alpha=[8, 16]
    )
    assert found["rank"] == Choice(8)
    assert found["learning_rate"] == Float(1e-3, 5e-3, log=True)
    assert found["dropout"] == Choice(0.0, 0.1)
    assert found["alpha"] == Choice(8.0, 16.0), "whole numbers are numbers"
    assert found["b_rate"] == left_of("lora")["b_rate"]


def test_a_range_keeps_whole_numbers_and_the_log_scale() -> None:
    assert left_of("lora", rank={"low": 4, "high": 16})["rank"] == Int(4, 16, log=True)
    assert left_of("lora", rank={"low": 4, "high": 4})["rank"] == Choice(4)


def test_all_narrows_every_method_that_has_the_field_and_its_own_table_counts_first() -> None:
    asked: Narrowing = {"all": {"rank": 16, "weight_decay": 0}, "lora": {"weight_decay": 0.1}}
    found = searched_space(["lora", "unipelt", "adapter"], asked, BERT)[0].domains
    assert found["lora"]["rank"] == found["unipelt"]["rank"] == Choice(16)
    assert found["lora"]["weight_decay"] == Choice(0.1)
    assert found["adapter"]["weight_decay"] == Choice(0.0)


def test_a_field_that_is_narrowed_everywhere_need_not_count_everywhere() -> None:
    asked: Narrowing = {"all": {"rank": 16}, "unipelt": {"modules": "AP"}}
    assert searched_space(["lora", "unipelt"], asked, BERT)[0].domains["lora"]["rank"] == Choice(16)


@pytest.mark.parametrize(
    ("method", "field", "value"),
    [
        ("lora", "layers", "0 1"),
        ("lora", "layers", "top 1"),
        ("unipelt", "gates", "AP"),
        ("unipelt", "modules", "ABI"),
        ("unipelt", "pooling", "all tokens"),
        ("prefix", "positions", "shifted"),
        ("lora", "targets", "query key"),
    ],
)
def test_values_that_are_allowed_but_not_searched_can_be_asked_for(
    method: str, field: str, value: str
) -> None:
    space = searched_space([method], {method: {field: value}}, BERT)[0]
    assert space.domains[method][field] == Choice(value)
    assert all(getattr(config, field) == value for config in defaults(space))


def test_a_condition_on_two_fields_together_is_understood() -> None:
    # A gate needs a union with a gated module: B and I have gates only where they are asked for.
    assert left_of("unipelt", modules="BI", gates="B", gate_start=0.9)["gate_start"] == Choice(0.9)
    assert left_of("unipelt", modules=["BI", "LB"], gate_start=0.9)["gate_start"] == Choice(0.9)


def test_a_layer_is_text_however_it_was_written() -> None:
    assert left_of("lora", layers=1)["layers"] == left_of("lora", layers="1")["layers"] == Choice("1")


def test_methods_of_peft_are_narrowed_under_any_spelling() -> None:
    space, _ = searched_space(["peft:oft"], {"peft:Oft": {"oft_block_size": 16}}, BERT)
    assert space.domains["peft:OFT"]["oft_block_size"] == Choice(16)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ("lorra.rank=8", "'lorra' was given, but method 'lorra' is unknown; methods: adapter"),
        (
            "full.learning_rate=1e-5",
            "fields of full are narrowed, but it is not searched here; name full in --meth",
        ),
        ("lora.rnk=8", "lora has no field 'rnk'; possible fields: .*rank"),
        ("rnk=8", "no searched method has a field 'rnk'; possible fields: .*rank"),
        ("lora.rank=65", "lora.rank 65 is not possible: it must be a whole number from 1 to 64; choose"),
        ("lora.rank=8.5", "lora.rank 8.5 is not possible: it must be a whole number from 1 to 64"),
        ("lora.rank=4,8", "lora.rank 4,8 is not possible: it must be a whole number from 1 to 64"),
        ("lora.alpha=nan", "lora.alpha nan is not possible: it must be a number from 1 to 128"),
        ("lora.dora=1", "lora.dora 1 is not possible: it must be one of False, True"),
        ("lora.dropout=0.2", "lora.dropout 0.2 is not possible: it must be one of 0.0, 0.05, 0.1"),
        ("lora.layers=top 0", "lora.layers 'top 0' is not possible: it must be one of all, .*or 'top 3'"),
        ("lora.layers=0 9", "lora.layers '0 9' is not possible: .*the backbone has layers 0 to 1"),
        ("lora.targets=ffn_gate", "lora.targets ffn_gate leaves lora no place on this backbone"),
        (
            "rank=8",
            "vera.rank 8 is not possible: .* from 16 to 1024; .*narrow the field of some methods only",
        ),
        ("prefix.mlp_width=64; prefix.reparametrised=false", "counts only with reparametrised true, and"),
        (
            "unipelt.rank=8; unipelt.modules=AP",
            "unipelt.rank is narrowed, but it counts only with modules AL or PL",
        ),
        (
            "unipelt.gate_start=0.9; unipelt.modules=BI",
            "gate_start is narrowed, but it never counts with what",
        ),
        (
            "unipelt.gate_start=0.9; unipelt.gates=none",
            "gate_start is narrowed, but it counts only with gates APL",
        ),
    ],
)
def test_an_impossible_wish_is_refused_with_what_is_possible(fixed: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        searched_space(None, read_options(fixed.split("; "), ()), BERT)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (
            {"low": 1e-5, "high": 5e-3},
            "1e-05 to 0.005 is not possible: it must be a number from 0.0001 to 0.02",
        ),
        ({"low": 5e-3, "high": 1e-3}, "0.005 to 0.001 is an empty range: .*; write the smaller number first"),
        (
            {"low": 1e-3},
            "is not understood: .*; give one value, a list of values, or {low = ..., high = ...}",
        ),
        ({"low": "a", "high": "b"}, "a to b is not possible"),
        ([], r"learning_rate \[\] is an empty list: .*; name at least one value"),
        ([1e-3, 1.0], "learning_rate 1 is not possible: it must be a number from 0.0001 to 0.02"),
        (None, "None is not possible"),
    ],
)
def test_an_impossible_range_is_refused_with_the_domain(left: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        left_of("lora", learning_rate=left)


def test_words_have_no_range() -> None:
    with pytest.raises(
        ValueError, match="dropout 0 to 0.1 is not possible: it must be one of 0.0, .*; list the"
    ):
        left_of("lora", dropout={"low": 0.0, "high": 0.1})


def test_what_the_backbone_lacks_is_refused_as_such() -> None:
    llama = sites("llama")
    with pytest.raises(ValueError, match="bitfit is left out: the backbone does not offer biases; leave its"):
        searched_space(["lora", "bitfit"], {"bitfit": {"learning_rate": 1e-3}}, llama)
    with pytest.raises(
        ValueError, match="modules PB is not possible: .* letters of APLI, .* on this backbone"
    ):
        searched_space(["unipelt"], {"unipelt": {"modules": "PB"}}, llama)


# ------------------------------------------------------------------------------------ defaults


def test_strong_defaults_that_fit_stay_and_others_move_inside() -> None:
    space = space_of([UniPELTConfig])
    assert defaults(space) == [UniPELTConfig(modules="APL"), UniPELTConfig(modules="AP")]
    only = narrowed(space, {"unipelt": {"modules": "AP"}})
    assert defaults(only) == [UniPELTConfig(modules="AP")], "the moved one would be the same"
    moved = narrowed(space, {"unipelt": {"gate_start": [0.1, 0.9], "bottleneck": {"low": 4, "high": 16}}})
    assert defaults(moved) == [
        UniPELTConfig(modules="APL", gate_start=0.1, bottleneck=16),
        UniPELTConfig(modules="AP", gate_start=0.1, bottleneck=16),
    ]


def test_a_number_moves_to_the_nearest_of_a_list() -> None:
    (found,) = defaults(narrowed(space_of([LoRAConfig]), {"lora": {"rank": [1, 6, 32]}}))
    assert found == LoRAConfig(rank=6)


# ------------------------------------------------------------------------------------- samplers


def draws(space: Space, count: int = 40) -> list[tuple[Any, optuna.Trial]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    return [(suggest(trial, space), trial) for trial in (study.ask() for _ in range(count))]


def test_what_is_fixed_is_neither_asked_nor_recorded() -> None:
    asked: Narrowing = {"lora": {"rank": 8, "layers": "0 1", "learning_rate": {"low": 1e-3, "high": 2e-3}}}
    space = narrowed(space_of([LoRAConfig, UniPELTConfig]), asked)
    for config, trial in draws(space):
        assert space.contains(config)
        assert parameters(config, space) == (trial.params, trial.distributions)
        assert not {"lora.rank", "lora.layers"} & trial.params.keys()
        assert config.name == "unipelt" or (config.rank, config.layers) == (8, "0 1")


@st.composite
def narrowings(draw: st.DrawFn) -> Narrowing:
    """Anything possible that is left of a method without conditions."""
    found: dict[str, dict[str, Any]] = {}
    for name in draw(st.sets(st.sampled_from(["lora", "adapter", "reft"]), min_size=1)):
        for field, domain in space_of([METHODS[name]]).domains[name].items():
            if draw(st.booleans()):
                found.setdefault(name, {})[field] = draw(parts(domain))
    return found


def parts(domain: Domain) -> st.SearchStrategy[Any]:
    if isinstance(domain, Choice):
        options = st.sampled_from(domain.options)
        return options | st.lists(options, min_size=1, max_size=3)
    one = (
        st.integers(domain.low, domain.high)
        if isinstance(domain, Int)
        else st.floats(domain.low, domain.high)
    )
    pairs = st.tuples(one, one).map(lambda two: {"low": min(two), "high": max(two)})
    return one | st.lists(one, min_size=1, max_size=3) | pairs


@given(narrowings())
def test_every_draw_and_default_lies_in_what_is_left(narrowing: Narrowing) -> None:
    whole = space_of([METHODS[name] for name in ("lora", "adapter", "reft")])
    space = narrowed(whole, narrowing)
    for config in [*defaults(space), *(config for config, _ in draws(space, 5))]:
        assert space.contains(config) and whole.contains(config)
    for method, fields in narrowing.items():
        for name in whole.domains[method].keys() - fields.keys():
            assert space.domains[method][name] == whole.domains[method][name]
