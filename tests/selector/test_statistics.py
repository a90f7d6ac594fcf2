"""Intervals, paired differences and the tied set, against scipy and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from selector import bootstrap
from selector.bootstrap import Sample
from selector.optimism import expected_drop
from selector.statistics import holm, interval, paired_difference, tied_set
from trainers.metrics import score

Integers = NDArray[np.int64]
ABILITY, ROW_SPREAD = 1.5, 2.0
STUDIES = 500


def right_answers(
    generator: np.random.Generator,
    seeds: int,
    rows: int,
    *,
    ability: float = ABILITY,
    seed_spread: float = 0.0,
    difficulty: NDArray[np.float64] | None = None,
) -> Integers:
    """[seeds, rows] of 0 and 1 (right): logit = ability + difficulty of the row + effect of the seed."""
    if difficulty is None:
        difficulty = generator.normal(0, ROW_SPREAD, rows)
    logits = ability + difficulty + generator.normal(0, seed_spread, (seeds, 1))
    return (generator.random((seeds, rows)) < 1 / (1 + np.exp(-logits))).astype(np.int64)


def true_accuracy(ability: float, spread: float) -> float:
    """Mean of the logistic over Normal(ability, spread), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return float((weights / (1 + np.exp(-(ability + spread * nodes)))).sum() / weights.sum())


def guesses(generator: np.random.Generator, labels: Integers, seeds: int, accuracy: float) -> Integers:
    """Predictions that are right with a probability and drawn from three classes otherwise."""
    shape = (seeds, len(labels))
    return np.where(generator.random(shape) < accuracy, labels, generator.integers(3, size=shape))


def test_one_seed_agrees_with_scipys_percentile_bootstrap() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(3, size=300)
    predictions = guesses(generator, labels, 1, 0.6)
    for metric in ("accuracy", "macro_f1", "matthews"):
        ours = interval(metric, predictions, labels, 3, draws=9000)
        theirs = scipy.stats.bootstrap(
            (predictions[0], labels),
            lambda p, t, metric=metric: float(score(metric, p, t, 3)),
            paired=True,
            vectorized=False,
            method="percentile",
            n_resamples=9000,
            rng=np.random.default_rng(2),
        ).confidence_interval
        assert ours.mean == pytest.approx(float(score(metric, predictions[0], labels, 3)))
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_a_difference_agrees_with_scipys_paired_bootstrap() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(3, size=300)
    a, b = guesses(generator, labels, 1, 0.7), guesses(generator, labels, 1, 0.6)
    ours = paired_difference("accuracy", a, b, labels, 3, draws=9000)
    gains = (a[0] == labels) * 1.0 - (b[0] == labels)
    theirs = scipy.stats.bootstrap(
        (gains,), np.mean, method="percentile", n_resamples=9000, rng=np.random.default_rng(4)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)
    assert ours.p_value == pytest.approx(scipy.stats.ttest_1samp(gains, 0).pvalue, abs=0.01)


def test_seeds_that_differ_much_give_students_interval_over_seeds() -> None:
    rows = 20_000
    means = np.array([0.5, 0.6, 0.7])
    predictions = (np.arange(rows) < rows * means[:, None]).astype(np.int64)
    ours = interval("accuracy", predictions, np.ones(rows, np.int64), 2)
    half = scipy.stats.t.ppf(0.975, 2) * means.std(ddof=1) / np.sqrt(3)
    assert ours.high - ours.low == pytest.approx(2 * half, rel=0.15)


@pytest.mark.parametrize("rows", [100, 500])
@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_intervals_cover_the_true_accuracy_in_92_to_98_percent(seeds: int, rows: int) -> None:
    # 0.15 on the logit scale: about 2.5 points from seed to seed. One seed claims nothing of others.
    spread = 0.15 if seeds > 1 else 0.0
    truth = true_accuracy(ABILITY, np.hypot(ROW_SPREAD, spread))
    generator = np.random.default_rng(seeds * rows)
    covered = 0
    for _ in range(STUDIES):
        right = right_answers(generator, seeds, rows, seed_spread=spread)
        found = interval("accuracy", right, np.ones(rows, np.int64), 2, draws=200)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / STUDIES <= 0.98


@pytest.mark.parametrize("lead", [0.0, 0.6])
def test_the_interval_of_a_difference_covers_the_true_one(lead: float) -> None:
    truth = true_accuracy(ABILITY + lead, np.hypot(ROW_SPREAD, 0.15))
    truth -= true_accuracy(ABILITY, np.hypot(ROW_SPREAD, 0.15))
    generator = np.random.default_rng(13)
    covered = 0
    for _ in range(STUDIES):
        difficulty = generator.normal(0, ROW_SPREAD, 200)
        a, b = (
            right_answers(generator, 3, 200, ability=ability, seed_spread=0.15, difficulty=difficulty)
            for ability in (ABILITY + lead, ABILITY)
        )
        found = paired_difference("accuracy", a, b, np.ones(200, np.int64), 2, draws=200)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / STUDIES <= 0.98


@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(1, 1), (3, 3), (3, 1)])
def test_equal_contenders_are_told_apart_in_at_most_7_percent(seeds_a: int, seeds_b: int) -> None:
    generator = np.random.default_rng(5)
    labels = np.ones(200, np.int64)
    rejected = 0
    for _ in range(400):
        difficulty = generator.normal(0, ROW_SPREAD, 200)
        a, b = (right_answers(generator, s, 200, difficulty=difficulty) for s in (seeds_a, seeds_b))
        rejected += paired_difference("accuracy", a, b, labels, 2, draws=200).p_value <= 0.05
    assert rejected / 400 <= 0.07


def contenders_with_a_lead(
    generator: np.random.Generator, lead: float, rows: int, seed_spread: float = 0.1
) -> list[Integers]:
    """Five contenders with three seeds each; the first leads by so much on the logit scale."""
    difficulty = generator.normal(0, ROW_SPREAD, rows)
    return [
        right_answers(generator, 3, rows, ability=ability, seed_spread=seed_spread, difficulty=difficulty)
        for ability in (ABILITY + lead, *[ABILITY] * 4)
    ]


# In points of accuracy: none, about 3, about 21.
@pytest.mark.parametrize("lead", [0.0, 0.3, 3.5])
@pytest.mark.parametrize("rows", [80, 200])
def test_the_tied_set_holds_the_truly_best_and_shrinks_to_it(lead: float, rows: int) -> None:
    generator = np.random.default_rng(round(10 * lead) + rows)
    labels = np.ones(rows, np.int64)
    found = [
        tied_set("accuracy", contenders_with_a_lead(generator, lead, rows), labels, 2, draws=200).members
        for _ in range(STUDIES)
    ]
    assert np.mean([0 in members for members in found]) >= 0.93
    if lead > 1:
        assert np.mean([members == {0} for members in found]) >= 0.95
    if lead < 1:
        assert np.mean([len(members) for members in found]) > 3, "a small lead is not taken for a clear one"


@pytest.mark.parametrize("rows", [100, 300])
@pytest.mark.parametrize(("seeds", "seed_spread"), [(1, 0.0), (3, 0.15)])
def test_the_expected_drop_of_the_highest_of_equals_is_what_it_loses(
    seeds: int, seed_spread: float, rows: int
) -> None:
    generator = np.random.default_rng(seeds + rows)
    truth = true_accuracy(ABILITY, np.hypot(ROW_SPREAD, seed_spread))
    found, lost = [], []
    for _ in range(200):
        difficulty = generator.normal(0, ROW_SPREAD, rows)
        contenders = [
            right_answers(generator, seeds, rows, seed_spread=seed_spread, difficulty=difficulty)
            for _ in range(6)
        ]
        drop, highest = drop_of(contenders, splits=100)
        found.append(drop)
        lost.append(contenders[highest].mean() - truth)
    # What the rows give and take from all alike is noise in what is lost: its standard error counts.
    noise = 2 * np.std(lost) / np.sqrt(len(lost))
    assert 0.85 * np.mean(lost) - noise <= np.mean(found) <= 1.3 * np.mean(lost) + noise
    assert np.mean(found) > 0.005


def test_a_clear_lead_loses_nothing_and_a_small_one_no_less_than_it_does() -> None:
    generator = np.random.default_rng(11)
    for lead, most in ((3.5, 0.001), (0.3, 0.04)):
        truth = true_accuracy(ABILITY + lead, np.hypot(ROW_SPREAD, 0.1))
        others = true_accuracy(ABILITY, np.hypot(ROW_SPREAD, 0.1))
        found, lost = [], []
        for _ in range(200):
            contenders = contenders_with_a_lead(generator, lead, 200)
            drop, highest = drop_of(contenders, splits=100)
            found.append(drop)
            lost.append(contenders[highest].mean() - (others if highest else truth))
        assert np.mean(lost) - 2 * np.std(lost) / np.sqrt(len(lost)) <= np.mean(found) <= most


def test_one_contender_alone_has_no_winners_curse() -> None:
    assert drop_of([np.ones((3, 50), np.int64)])[0] == 0.0
    same = (np.arange(100) < 80).astype(np.int64)[None]
    assert drop_of([same, same.copy()])[0] == 0.0, "equal predictions lose nothing to each other"


def drop_of(contenders: list[Integers], splits: int = 1000) -> tuple[float, int]:
    """The expected drop of the highest score, and who has it; a right answer is 1."""
    labels = np.ones(contenders[0].shape[1], np.int64)
    samples = [Sample.of("accuracy", one, labels, 2, 100, 0) for one in contenders]
    best = int(np.argmax([one.mean for one in samples]))
    return expected_drop("accuracy", contenders, samples, best, labels, 2, splits=splits), best


def test_a_clear_lead_leaves_the_best_alone_and_a_small_one_does_not() -> None:
    generator = np.random.default_rng(7)
    labels = generator.integers(3, size=600)
    clear = [guesses(generator, labels, 3, accuracy) for accuracy in (0.6, 0.85, 0.6)]
    assert tied_set("macro_f1", clear, labels, 3).members == {1}
    close = [guesses(generator, labels, 3, accuracy) for accuracy in (0.84, 0.85, 0.5)]
    found = tied_set("macro_f1", close, labels, 3)
    assert found.members == {0, 1}
    assert found.differences[found.best].mean == 0 and found.differences[2].p_value < 0.01


def test_equal_predictions_are_tied_and_the_first_counts_as_best() -> None:
    labels = np.array([0, 1] * 50)
    same = (np.arange(100) < 80).astype(np.int64)[None]
    found = tied_set("accuracy", [same, same.copy()], labels, 2)
    assert found.best == 0 and found.members == {0, 1}
    assert found.differences[1].p_value == 1.0


def test_a_p_value_is_never_zero() -> None:
    labels = np.ones(50, np.int64)
    found = paired_difference("accuracy", labels[None], 0 * labels[None], labels, 2, draws=99)
    assert (found.mean, found.p_value) == (1.0, 1 / 100)


def test_all_right_is_not_certain_but_follows_clopper_and_pearson() -> None:
    labels = np.ones(100, np.int64)
    found = interval("accuracy", labels[None], labels, 2)
    exact = scipy.stats.binomtest(100, 100).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_holm_rejects_whom_the_step_down_procedure_rejects() -> None:
    # Holm 1979: compare the smallest p value with .05 / m, the next with .05 / (m - 1), until one is larger.
    generator = np.random.default_rng(12)
    for _ in range(50):
        p_values = (generator.random(6) ** 3).tolist()
        rejected: set[int] = set()
        for place, position in enumerate(np.argsort(p_values)):
            if p_values[position] > 0.05 / (6 - place):
                break
            rejected.add(int(position))
        assert {i for i, adjusted in enumerate(holm(p_values)) if adjusted <= 0.05} == rejected


def test_holm_follows_the_step_down_table() -> None:
    # .005 x 4, .01 x 3, .03 x 2, and .04 x 1 raised to its predecessor.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_memory_is_bounded_without_changing_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(8)
    labels = generator.integers(3, size=120)
    predictions = guesses(generator, labels, 3, 0.7)
    whole = interval("macro_f1", predictions, labels, 3)
    monkeypatch.setattr(bootstrap, "CELLS", 7 * 120)
    assert interval("macro_f1", predictions, labels, 3) == whole


def test_predictions_and_labels_must_fit() -> None:
    with pytest.raises(ValueError, match=r"predictions are \[3\] and labels \[3\]"):
        interval("accuracy", np.zeros(3, np.int64), np.zeros(3, np.int64), 2)
    with pytest.raises(ValueError, match="at least one seed and one row"):
        interval("accuracy", np.zeros((1, 0), np.int64), np.zeros(0, np.int64), 2)
    with pytest.raises(ValueError, match="at least one contender"):
        tied_set("accuracy", [], np.zeros(3, np.int64), 2)
