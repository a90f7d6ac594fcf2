"""The choice and its reason, as exact text, in situations made by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from selector.comparison import Asked
from selector.recommend import Contender, Finalist, Recommendation, recommend

ROWS = 200
ASKED = Asked(trials=16, searched=16, seeds=3)
LABELS = np.ones(ROWS, np.int64)


def right(*counts: int, start: int = 0) -> NDArray[np.int64]:
    """One seed for each count: so many of the examples are right, from `start` on."""
    return np.stack([np.roll(np.arange(ROWS) < count, start) for count in counts]).astype(np.int64)


def finalist(trial: int, method: str, stored_bytes: int, validation: NDArray[np.int64]) -> Finalist:
    return Finalist(
        trial=trial,
        method=method,
        config={"rank": 8},
        stored_bytes=stored_bytes,
        trainable_parameters=stored_bytes // 4,
        validation=validation,
        test=right(*[150] * len(validation)),
    )


def baseline(name: str, stored_bytes: int, count: int) -> Contender:
    return Contender(
        name=name,
        stored_bytes=stored_bytes,
        trainable_parameters=stored_bytes // 4,
        on_backbone=name == "linear_probe",
        validation=right(count),
        test=right(140),
    )


def chosen(
    finalists: list[Finalist], baselines: list[Contender], asked: Asked | None = ASKED, left_out: str = ""
) -> Recommendation:
    return recommend(
        finalists,
        baselines,
        validation_labels=LABELS,
        test_labels=LABELS,
        metric="accuracy",
        classes=2,
        asked=asked,
        left_out=left_out,
    )


MAJORITY = baseline("majority", 0, 60)
PROBE = baseline("linear_probe", 12_000, 120)
LORA = finalist(5, "lora", 310_000, right(170, 172, 174))


def test_a_clear_winner_says_by_how_much() -> None:
    found = chosen([LORA, finalist(7, "adapter", 90_000, right(140, 141, 142))], [MAJORITY, PROBE])
    assert found.reason == (
        "2 finalists of 16 configurations with 3 seeds each and 2 baselines "
        "were compared on 200 validation examples. "
        "On validation, lora (trial 5) reaches accuracy 0.860 (95 % interval 0.811 to 0.908, 3 seeds). "
        "It is significantly better than all others; next is adapter (trial 7), -15.5 points, "
        "95 % interval -20.6 to -11.0. "
        "It trains 77,500 parameters and stores 310.0 kB. "
        "The highest of the 4 scores, that of lora (trial 5), is not expected to be lower on new data "
        "(winner's curse)."
    )
    assert (found.tied, found.tied_baselines) == ((5,), ())
    assert found.would_change == () and found.expected_drop == 0.0


def test_the_cheapest_of_the_tied_is_preferred_to_the_highest_score() -> None:
    found = chosen([LORA, finalist(7, "adapter", 90_000, right(169, 171, 173, start=4))], [MAJORITY, PROBE])
    assert found.reason == (
        "2 finalists of 16 configurations with 3 seeds each and 2 baselines "
        "were compared on 200 validation examples. "
        "On validation, adapter (trial 7) reaches accuracy 0.855 (95 % interval 0.805 to 0.902, 3 seeds). "
        "The highest score is lora (trial 5), +0.5 points, 95 % interval -2.1 to 3.4: "
        "of the 2 that cannot be told apart, this is the cheapest (90.0 kB against 310.0 kB). "
        "It trains 22,500 parameters and stores 90.0 kB. "
        "The highest of the 4 scores, that of lora (trial 5), is expected to be 0.7 points lower on new data "
        "(winner's curse)."
    )
    assert found.tied == (5, 7)
    assert [(why, one.to_json()["trial"]) for why, one in found.alternatives] == [
        ("highest validation score", 5),
        ("best baseline", None),
    ]


def test_the_highest_score_that_costs_least_names_who_it_is_tied_with() -> None:
    found = chosen([LORA, finalist(7, "unipelt", 900_000, right(169, 171, 173, start=4))], [MAJORITY], None)
    assert found.reason == (
        "2 finalists with 3 seeds each and 1 baseline were compared on 200 validation examples. "
        "On validation, lora (trial 5) reaches accuracy 0.860 (95 % interval 0.811 to 0.908, 3 seeds). "
        "It has the highest score; unipelt (trial 7) is not significantly worse, but not cheaper either. "
        "It trains 77,500 parameters and stores 310.0 kB. "
        "The highest of the 3 scores, that of lora (trial 5), is expected to be 0.7 points lower on new data "
        "(winner's curse)."
    )


def test_a_tied_linear_probe_wins_over_modules() -> None:
    found = chosen([LORA], [MAJORITY, baseline("linear_probe", 12_000, 169)])
    assert found.reason == (
        "Use the linear probe: no trained module is significantly better "
        "(best: lora, trial 5, +1.5 points, 95 % interval -0.4 to 3.5). "
        "1 finalist of 16 configurations with 3 seeds each and 2 baselines "
        "were compared on 200 validation examples. "
        "On validation, the linear probe reaches accuracy 0.845 (95 % interval 0.795 to 0.895, 1 seed). "
        "It needs the plain backbone and stores 12.0 kB. "
        "The highest of the 3 scores, that of lora (trial 5), is expected to be 0.1 points lower on new data "
        "(winner's curse)."
    )
    assert found.tied == (5,) and found.tied_baselines == ("linear_probe",)
    values = found.to_json()
    assert (values["trial"], values["method"]) == (None, "linear_probe")


def test_without_a_module_a_baseline_is_recommended() -> None:
    found = chosen([], [MAJORITY, PROBE])
    assert found.reason == (
        "Use the linear probe: no module was trained to the end. "
        "2 baselines "
        "were compared on 200 validation examples. "
        "On validation, the linear probe reaches accuracy 0.600 (95 % interval 0.535 to 0.670, 1 seed). "
        "It needs the plain backbone and stores 12.0 kB. "
        "The highest of the 2 scores, that of the linear probe, is not expected to be lower on new data "
        "(winner's curse)."
    )


@pytest.mark.parametrize(
    ("name", "words", "needs"),
    [
        ("majority", "the majority class", "runs without the backbone and stores 12.0 kB"),
        ("mean", "the mean of the training rows", "runs without the backbone and stores 12.0 kB"),
        ("tfidf_logistic_regression", "TF-IDF with logistic regression", "runs without the backbone"),
        ("tfidf_ridge", "TF-IDF with ridge regression", "runs without the backbone"),
        ("word_tags", "the most frequent tag of each word", "runs without the backbone"),
        ("linear_probe", "the linear probe", "needs the plain backbone"),
    ],
)
def test_a_baseline_that_is_not_beaten_is_to_be_used(name: str, words: str, needs: str) -> None:
    found = chosen([LORA], [baseline(name, 12_000, 169)])
    assert found.reason.startswith(f"Use {words}: no trained module is significantly better (best: lora")
    assert f"It {needs}" in found.reason
    beaten = chosen([finalist(5, "lora", 310_000, right(120, 121, 122))], [baseline(name, 12_000, 169)])
    assert beaten.reason.startswith(f"Use {words}: every trained module is worse (best: lora")


FULL = finalist(9, "full", 90_300_000, right(176, 178, 180))


def test_full_finetuning_is_recommended_only_when_nothing_cheaper_ties() -> None:
    adapter = finalist(7, "adapter", 90_000, right(140, 141, 142))
    found = chosen([adapter, FULL], [MAJORITY, PROBE])
    assert found.reason == (
        "Use full fine-tuning: it is significantly better than everything that costs less, at best "
        "adapter (trial 7), -18.5 points, 95 % interval -24.1 to -13.5. "
        "1 finalist of 16 configurations with 3 seeds each, full fine-tuning with 3 seeds and 2 baselines "
        "were compared on 200 validation examples. "
        "On validation, full fine-tuning (trial 9) reaches accuracy 0.890 (95 % interval 0.845 to 0.933, "
        "3 seeds). "
        "It trains 22,575,000 parameters and stores 90.3 MB, a backbone for this task alone. "
        "The highest of the 4 scores, that of full fine-tuning (trial 9), is not expected to be lower on new "
        "data (winner's curse)."
    )
    tied = finalist(7, "adapter", 90_000, right(175, 177, 179, start=4))
    assert chosen([tied, FULL], [MAJORITY]).choice.contender == tied


def test_the_reason_says_where_full_finetuning_stands() -> None:
    lora = replace(LORA, validation=right(178, 180, 182))
    near = replace(FULL, validation=right(177, 178, 181, start=3))
    adapter = finalist(7, "adapter", 900_000, right(178, 179, 180, start=2))
    said = chosen([lora, adapter, near], [MAJORITY]).reason
    assert "Full fine-tuning is not significantly better, -0.7 points, 95 % interval" in said
    bad = replace(FULL, validation=right(120, 121, 122))
    said = chosen([lora, adapter, bad], [MAJORITY]).reason
    assert "Full fine-tuning is significantly worse than the best, -29.5 points, 95 % interval" in said
    said = chosen([lora], [MAJORITY], left_out="weights in 4bit cannot be trained").reason
    assert "Full fine-tuning was left out: weights in 4bit cannot be trained." in said


def test_the_search_s_own_score_stands_beside_that_of_fresh_seeds() -> None:
    searched = replace(LORA, curve=((2, 0.8), (4, 0.86), (8, 0.915)))
    assert "(95 % interval 0.811 to 0.908, 3 seeds); the search had scored it 0.915, with one seed." in (
        chosen([searched], [MAJORITY]).reason
    )
    assert chosen([searched], [MAJORITY]).to_json()["search_validation"] == 0.915


def test_nothing_but_one_finalist_is_recommended_plainly() -> None:
    assert "Nothing else was there to compare it with." in chosen([LORA], []).reason
    with pytest.raises(ValueError, match="at least one contender"):
        chosen([], [])


def test_equal_cost_is_decided_by_parameters_then_by_score() -> None:
    low = finalist(1, "lora", 1000, right(150))
    high = finalist(2, "lora", 1000, right(152))
    assert chosen([low, high], []).choice.contender == high
    fewer = replace(low, trainable_parameters=1)
    assert chosen([fewer, high], []).choice.contender == fewer


def test_test_scores_never_change_the_choice() -> None:
    other = finalist(7, "adapter", 90_000, right(169, 171, 173, start=4))
    kind = chosen([LORA, other], [MAJORITY, PROBE])
    cruel = [replace(one, test=right(0, 0, 0)) for one in (LORA, other)]
    perfect = [replace(one, test=right(ROWS)) for one in (MAJORITY, PROBE)]
    told = chosen(cruel, perfect)
    assert told.reason == kind.reason and told.tied == kind.tied
    assert [why for why, _ in told.alternatives] == [why for why, _ in kind.alternatives]
    assert told.choice.test.mean == 0.0


def test_what_is_beyond_the_limits_is_named_and_is_no_winner() -> None:
    found = recommend(
        [LORA],
        [MAJORITY],
        beyond=[FULL],
        validation_labels=LABELS,
        test_labels=LABELS,
        metric="accuracy",
        classes=2,
    )
    assert "Beyond the limits, and so not to choose from: full fine-tuning (trial 9)." in found.reason
    assert [one.beyond_limits for one in found.compared] == [True, False, False]
    curse = found.to_json()["winners_curse"]
    assert curse["contenders"] == 2 and curse["highest"] == pytest.approx(0.86)


def test_the_cost_of_full_finetuning_names_its_latency() -> None:
    known = {"ms": 12.5, "ratio": 1.25, "tokens": 24, "device": "cpu"}
    found = chosen([replace(FULL, latency=known)], [MAJORITY])
    assert (
        "It trains 22,575,000 parameters and stores 90.3 MB, a backbone for this task alone; "
        "one text of 24 tokens takes 12.5 ms on cpu, 1.25 times what the plain backbone takes."
    ) in found.reason


def test_json_has_exactly_the_promised_keys() -> None:
    values = chosen([LORA], [MAJORITY, PROBE]).to_json()
    row = ["beyond_limits", "config", "latency", "method", "search_validation", "stored_bytes", "test"]
    row += ["trainable_parameters", "trial", "validation"]
    more = ["alternatives", "compared", "reason", "tied", "tied_baselines", "would_change", "winners_curse"]
    assert sorted(values) == sorted([*row, *more, "full_finetuning_left_out"])
    assert sorted(values["winners_curse"]) == ["contenders", "expected_drop", "highest"]
    assert sorted(values["test"]) == ["high", "low", "mean", "seeds"]
    assert all(sorted(one) == sorted([*row, "why"]) for one in values["alternatives"])
    assert json.loads(json.dumps(values)) == values
    assert values["validation"]["seeds"] == 3 and values["validation"]["mean"] == pytest.approx(0.86)


def test_a_tied_baseline_that_needs_no_backbone_wins_over_a_smaller_module() -> None:
    words = baseline("tfidf_logistic_regression", 580_000, 170)
    found = chosen([finalist(1, "bitfit", 106_000, right(168, 169, 170, start=15))], [MAJORITY, words])
    assert found.to_json()["method"] == "tfidf_logistic_regression"
    assert found.reason.startswith(
        "Use TF-IDF with logistic regression: no trained module is significantly better"
    )
    assert found.tied == (1,)


def test_a_baseline_that_every_module_loses_to_is_said_so() -> None:
    found = chosen(
        [finalist(5, "lora", 310_000, right(100, 101, 102))],
        [MAJORITY, baseline("linear_probe", 12_000, 170)],
    )
    assert found.reason.startswith(
        "Use the linear probe: every trained module is worse (best: lora, trial 5, -34.5 points"
    )
