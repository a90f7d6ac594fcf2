"""What would change the choice: each statement follows from what was measured, and only then is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from selector.bootstrap import Sample
from selector.comparison import Asked
from selector.edges import at_edge
from selector.power import rows_to_tell
from selector.recommend import Finalist, recommend
from selector.statistics import LEVEL, paired_difference
from trainers.domains import Choice, Float, Int

ROWS = 200
LABELS = np.ones(ROWS, np.int64)


def right(*counts: int, start: int = 0) -> NDArray[np.int64]:
    return np.stack([np.roll(np.arange(ROWS) < count, start) for count in counts]).astype(np.int64)


def scattered(*counts: int) -> NDArray[np.int64]:
    """So many are right for each seed, anywhere: the seeds differ no more than the rows explain."""
    generator = np.random.default_rng(counts)
    return np.stack([generator.permutation(np.arange(ROWS) < count) for count in counts]).astype(np.int64)


LORA = Finalist(
    trial=5,
    method="lora",
    config={},
    stored_bytes=90_000,
    trainable_parameters=22_500,
    validation=right(169, 171, 173, start=4),
    test=right(150, 150, 150),
)
LARGE = replace(LORA, trial=6, stored_bytes=900_000, validation=right(170, 172, 174))


def told(*finalists: Finalist, asked: Asked | None = None) -> tuple[str, ...]:
    return recommend(
        list(finalists),
        [],
        validation_labels=LABELS,
        test_labels=LABELS,
        metric="accuracy",
        classes=2,
        asked=asked,
    ).would_change


def test_the_rows_that_would_tell_the_best_from_the_cheapest_are_named() -> None:
    first, second = scattered(169, 171, 173), scattered(173, 174, 178)
    (said,) = told(replace(LORA, validation=first), replace(LARGE, validation=second))
    assert said == (
        "More validation rows: lora (trial 6) leads lora (trial 5) by 2.0 points on 200 validation rows; "
        "about 3,400 would tell such a lead from chance."
    )


def test_nothing_is_said_of_a_clear_lead_or_of_equal_scores() -> None:
    assert told(LORA, replace(LARGE, validation=right(100, 101, 102))) == ()
    assert told(LORA, replace(LARGE, validation=LORA.validation)) == ()


def test_where_seeds_differ_too_much_more_seeds_are_asked_for() -> None:
    (said,) = told(LORA, replace(LARGE, validation=right(150, 175, 195)))
    assert said.startswith("More seeds: lora (trial 6) leads lora (trial 5) by 1.2 points on 200 validation")
    assert said.endswith("which no number of rows could tell apart with 3 seeds each.")


def test_a_score_that_still_rose_asks_for_more_epochs() -> None:
    (said,) = told(replace(LORA, curve=((2, 0.7), (4, 0.80), (8, 0.86))))
    assert said == (
        "More epochs: from epoch 4 to 8 the score in the search still rose from 0.800 to 0.860, "
        "by more than its standard error."
    )
    assert told(replace(LORA, curve=((2, 0.7), (4, 0.85), (8, 0.86)))) == ()
    rose = replace(LORA, curve=((2, 0.7), (4, 0.80), (8, 0.86)), stopped=True)
    assert told(rose) == (), "it was at its best before the end"


def test_a_budget_that_was_short_is_named() -> None:
    asked = Asked(trials=16, searched=9, seeds=5)
    assert told(LORA, asked=asked) == (
        "More time: 9 of 16 configurations were tried and finalists had 3 of 5 seeds.",
    )
    assert told(LORA, asked=Asked(trials=16, searched=16, seeds=3)) == ()


def test_numbers_at_the_end_of_their_range_are_named() -> None:
    domains = {
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "rank": Int(1, 64, log=True),
        "dropout": Float(0.0, 0.5),
        "layers": Choice("all", "top half"),
    }
    inside = {"learning_rate": 1e-3, "rank": 8, "dropout": 0.1, "layers": "all"}
    assert at_edge(inside, domains) == ()
    assert at_edge({**inside, "learning_rate": 9.5e-3, "rank": 64}, domains) == (
        "learning_rate 9.5e-3, searched up to 0.01",
        "rank 64, searched up to 64",
    )
    assert at_edge({**inside, "learning_rate": 1e-4}, domains) == (
        "learning_rate 1e-4, searched down to 1e-4",
    )
    assert at_edge({**inside, "rank": 1, "dropout": 0.0}, domains) == (), "there is nothing below"
    assert told(replace(LORA, at_edge=("rank 64, searched up to 64",))) == (
        "Wider ranges: the choice has rank 64, searched up to 64.",
    )


@pytest.mark.parametrize(("lead", "seeds"), [(0.4, 1), (0.4, 3), (0.8, 5)])
def test_so_many_rows_find_a_true_lead_in_about_four_of_five_studies(lead: float, seeds: int) -> None:
    generator = np.random.default_rng(9)

    def study(rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        difficulty = 1.5 + generator.normal(0, 2.0, rows)
        return tuple(  # type: ignore[return-value]
            (generator.random((seeds, rows)) < 1 / (1 + np.exp(-difficulty - ability))).astype(np.int64)
            for ability in (lead, 0.0)
        )

    pilot = 20_000
    samples = [Sample.of("accuracy", one, np.ones(pilot, np.int64), 2, 300, 0) for one in study(pilot)]
    rows = rows_to_tell(samples[0], samples[1], pilot, 1, LEVEL)
    assert rows is not None
    found = [
        paired_difference("accuracy", *study(rows), np.ones(rows, np.int64), 2, draws=200).p_value <= 0.05
        for _ in range(200)
    ]
    assert 0.65 <= np.mean(found) <= 0.9
