"""Limits as users write them, and searches that stay within them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trainers.methods  # noqa: F401
from selector.contenders import Contender, Finalist, within
from selector.fitting import fitting, fitting_of
from selector.limits import Limits, limits_of
from selector.samplers import propose
from selector.space import Space, defaults, space_of
from selector.study import DataFile, RequestError, StudySpec
from storage.records import State, Trial
from trainers.backbone import outline
from trainers.building import costs_on
from trainers.cost import Cost
from trainers.method import METHODS, MethodConfig

SEARCHED = [method for method in METHODS.values() if method.searched == "always"]


def spec(**options: str) -> StudySpec:
    return StudySpec(train=DataFile(name="t.csv"), backbone="none", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_parameters": "0.5%"}, Limits(parameters=110_000)),
        ({"max_parameters": "120000"}, Limits(parameters=120_000)),
        ({"max_parameters": "120,000"}, Limits(parameters=120_000)),
        ({"max_parameters": "1.5M"}, Limits(parameters=1_500_000)),
        ({"max_bytes": "2MB"}, Limits(stored_bytes=2_000_000)),
        ({"max_bytes": "1.5 MiB"}, Limits(stored_bytes=1_572_864)),
        ({"max_bytes": "500kB"}, Limits(stored_bytes=500_000)),
        ({"max_latency": "1.2x"}, Limits(latency_ratio=1.2)),
        ({"max_latency": "20ms"}, Limits(latency_ms=20.0)),
        ({"max_latency": "0.5s"}, Limits(latency_ms=500.0)),
        ({}, Limits()),
    ],
)
def test_limits_are_read_as_they_are_written(options: dict[str, str], expected: Limits) -> None:
    asked = spec(**options)
    assert asked.limits(backbone_parameters=22_000_000) == expected
    assert StudySpec.from_json(asked.to_json()) == asked


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_parameters": "few"}, "--max-parameters 'few' is no limit; write for example 0.5% or 120000"),
        ({"max_parameters": "2MB"}, "--max-parameters '2MB' is no limit"),
        ({"max_parameters": "0%"}, "--max-parameters is 0%; it must be above zero"),
        ({"max_bytes": "-2MB"}, "--max-bytes '-2MB' is no limit; write for example 2MB"),
        ({"max_latency": "1.2"}, "--max-latency '1.2' is no limit; write for example 1.2x or 20ms"),
        ({"max_latency": "20 minutes"}, "write for example 1.2x or 20ms"),
    ],
)
def test_what_is_no_limit_is_refused_with_an_example(options: dict[str, str], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        spec(**options)
    assert words in str(caught.value)


def test_latency_limits_name_what_is_beyond() -> None:
    limits = limits_of(parameters=None, stored_bytes=None, latency="1.2x", backbone_parameters=1)
    assert limits.too_slow({"ratio": 1.2, "ms": 50.0}) == ""
    assert limits.too_slow({"ratio": 1.31, "ms": 1.0}) == (
        "one text takes 1.31x the plain backbone, the limit is 1.2x"
    )
    assert Limits(latency_ms=20).too_slow({"ratio": 1.0, "ms": 21.5}) == (
        "one text takes 21.50 ms, the limit is 20 ms"
    )


# ------------------------------------------------------------------------------------ the space


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path):  # noqa: ANN201
    """The whole space of a tiny BERT, and what its configurations cost."""
    return space_of(SEARCHED, outline(str(tiny_folder)).sites), costs_on(str(tiny_folder), 3)


def random_configs(space: Space, count: int) -> list[MethodConfig]:
    """Without finished trials the sampler draws at random."""
    tried = [
        Trial(number=i, method=config.name, config=config.values(), seed=0, state=State.WAITING)
        for i, config in enumerate(defaults(space))
    ]
    return propose(tried, count, space, "accuracy", 0)


def test_no_configuration_is_smaller_than_the_smallest(tiny) -> None:  # noqa: ANN001
    space, cost = tiny
    least: dict[str, int] = {}
    for config in random_configs(space, 600):
        found = cost(config).trainable_parameters
        least[config.name] = min(least.get(config.name, found), found)
    for name, parameters in least.items():
        # The smallest is within a limit of that size, or no method is: then the message names a smaller one.
        fitting(space.only([name]), cost, Limits(parameters=parameters))


@pytest.mark.parametrize("limits", [Limits(parameters=1500), Limits(stored_bytes=4000, parameters=3000)])
def test_what_is_proposed_is_always_within_the_limits(tiny, limits: Limits) -> None:  # noqa: ANN001
    space, cost = tiny

    def uses(config: MethodConfig) -> float:
        found = cost(config)
        return limits.use(found.trainable_parameters, found.stored_bytes)

    fitted = fitting(space, cost, limits)
    assert sum(uses(config) > 1 for config in random_configs(space, 200)) > 50, "the limits rule much out"
    proposals = propose([], 60, fitted.space, "accuracy", 0, fit=fitted.fit)
    assert max(map(uses, proposals)) <= 1
    assert {config.name for config in proposals} == {method.name for method in fitted.space.methods}
    assert len(set(map(str, proposals))) == len(proposals)


def test_a_space_never_loses_a_configuration_that_fits(tiny) -> None:  # noqa: ANN001
    space, cost = tiny
    limits = Limits(parameters=2000)
    fitted = fitting(space, cost, limits)
    inside = [c for c in random_configs(space, 400) if cost(c).trainable_parameters <= 2000]
    assert len(inside) > 50
    assert all(fitted.space.contains(config) and fitted.fit(config) == config for config in inside)


def test_methods_that_cannot_fit_are_left_out_with_their_smallest_size(tiny) -> None:  # noqa: ANN001
    space, cost = tiny
    fitted = fitting(space, cost, Limits(parameters=200))
    left_out = {method.name for method in space.methods} - {method.name for method in fitted.space.methods}
    told = [reason for reason in fitted.reasons if "is left out" in reason]
    assert {reason.split()[0] for reason in told} == left_out != set()
    assert "its smallest configuration has" in told[0] and "beyond 200 parameters" in told[0]


def test_defaults_that_are_too_large_start_smaller_and_say_so(tiny) -> None:  # noqa: ANN001
    space, cost = tiny
    (default,) = [config for config in defaults(space) if config.name == "lora"][:1]
    limit = cost(default).trainable_parameters - 1
    fitted = fitting(space.only(["lora"]), cost, Limits(parameters=limit))
    (first, *_) = propose([], 1, fitted.space, "accuracy", 0, fit=fitted.fit)
    assert first.values()["rank"] < default.values()["rank"]
    assert first.values()["learning_rate"] == default.values()["learning_rate"]
    assert any(reason.startswith("a default of lora has") for reason in fitted.reasons)


def test_when_nothing_fits_the_smallest_possible_is_named(tiny) -> None:  # noqa: ANN001
    space, cost = tiny
    with pytest.raises(
        ValueError, match="no configuration is within 10 parameters; the smallest possible is"
    ):
        fitting(space, cost, Limits(parameters=10))


def test_without_limits_the_space_is_as_it_was() -> None:
    space = space_of(SEARCHED)
    fitted = fitting(space, lambda config: Cost(1, 1, 1), Limits(latency_ratio=1.1))
    assert fitted.space is space and fitted.reasons == ()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_parameters": "5%"}, "beyond {limit:,} parameters"),
        ({"max_bytes": "3kB"}, "beyond 3,000 bytes"),
        ({"max_parameters": "200%"}, ""),
        ({"max_latency": "1.2x"}, ""),
    ],
)
def test_full_finetuning_beyond_a_size_is_left_out_with_the_reason(
    tiny_folder: Path, options: dict[str, str], why: str
) -> None:
    sketch = outline(str(tiny_folder))
    asked = StudySpec(train=DataFile(name="t.csv"), backbone=str(tiny_folder), **options)  # type: ignore[arg-type]
    space = space_of(SEARCHED, sketch.sites)
    fitted = fitting_of(asked, space, 3)
    told = [reason for reason in fitted.reasons if reason.startswith("full fine-tuning is left out: it has")]
    assert fitted.no_full.endswith(why.format(limit=int(0.05 * sketch.parameters)))
    assert bool(fitted.no_full) == bool(why) == (told == [f"full fine-tuning is left out: {fitted.no_full}"])
    unasked = fitting_of(replace(asked, full_finetuning=False), space, 3)
    assert not any("full fine-tuning" in reason for reason in unasked.reasons)


# ----------------------------------------------------------------------------- who is eligible


def test_what_was_not_timed_is_within_a_limit_on_latency_only_without_a_backbone() -> None:
    sizes = {"stored_bytes": 10, "trainable_parameters": 10, "validation": np.zeros((1, 1))}
    words = Contender(name="tfidf_logistic_regression", test=np.zeros((1, 1)), **sizes)
    probe = Contender(name="linear_probe", test=np.zeros((1, 1)), on_backbone=True, **sizes)
    module = Finalist(trial=0, method="lora", config={}, test=np.zeros((1, 1)), latency=None, **sizes)
    limits = Limits(latency_ratio=1.2)
    assert within(words, limits) and not within(probe, limits) and not within(module, limits)
    assert not within(words, Limits(stored_bytes=9)) and within(words, Limits(parameters=10))
