"""The memory, on fabricated studies in a real store: whose configurations come back, and which never."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

import trainers.methods  # noqa: F401
from selector import portfolio
from selector.experience import rank
from selector.likeness import alike
from selector.meta_features import SPREAD
from selector.portfolio import shipped
from selector.prior import Suggestion, open_places, origin_of, similar_studies, suggest
from selector.space import Space, defaults, space_of
from storage.database import Database, open_database
from storage.records import Report, State, Study, Trial
from trainers.domains import Choice, Float
from trainers.kinds import KINDS, single
from trainers.method import METHODS, MethodConfig

SPACE = space_of([METHODS[name] for name in ("adapter", "bitfit", "lora")])
HERE = {name: 0.0 for name in SPREAD}
"""Meta-features of the task at hand."""
FAR = {name: 3 * unit for name, unit in SPREAD.items()}
BERT = {"model_type": "bert", "hidden_size": 384}


def lora(learning_rate: float, **fields: Any) -> MethodConfig:
    return METHODS["lora"].from_values({"learning_rate": learning_rate, "rank": 32, **fields})


def adapter(learning_rate: float) -> MethodConfig:
    return METHODS["adapter"].from_values({"learning_rate": learning_rate})


GOOD, OTHER, POOR = lora(8e-3), lora(4e-4), lora(2e-2, rslora=True)
BAD = {lora(rate, dora=True): 0.1 for rate in (3e-4, 1e-3, 4e-3, 1e-2)}
"""What every study below beats."""


@pytest.fixture(autouse=True)
def no_portfolio(monkeypatch: pytest.MonkeyPatch) -> None:
    ship(monkeypatch, [], [])


def ship(monkeypatch: pytest.MonkeyPatch, kinds: Sequence[str], configs: Sequence[MethodConfig]) -> None:
    kept = [{"method": config.name, "values": config.values()} for config in configs]
    monkeypatch.setattr(portfolio, "shipped", lambda: {"kinds": kinds, "configurations": kept})


class Store:
    """Fabricated studies in a SQLite file."""

    def __init__(self, folder: Path) -> None:
        self.database: Database = open_database(f"sqlite:///{folder / 'memory.db'}")

    def study(
        self,
        name: str,
        scores: Mapping[MethodConfig, float] | None = None,
        features: Mapping[str, float] = HERE,
        *,
        kind: str = "classification",
        backbone: Mapping[str, Any] = BERT,
        state: State = State.COMPLETE,
    ) -> Study:
        """A study whose trials were all trained to the end, with these scores."""
        task = {"kind": kind, "metric": "accuracy", "meta_features": features, "backbone": backbone}
        study = self.database.create_study(name, {}, task, worker="me")
        pairs = enumerate((scores or {}).items())
        self.database.add_trials(study.id, [trial(i, config, score) for i, (config, score) in pairs])
        self.database.set_study_state(study.id, state)
        return self.database.study(study.id)

    def suggested(
        self, count: int = 1, *, space: Space = SPACE, kind: str = "classification"
    ) -> list[Suggestion]:
        """What a new study in this store is told."""
        new = self.study(f"new-{len(self.database.studies())}", kind=kind, state=State.RUNNING)
        return suggest(new, similar_studies(self.database, new), space, count)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def trial(number: int, given: MethodConfig, score: float, **fields: Any) -> Trial:
    last = Report(rung=0, epochs=8, metrics={"accuracy": score}, train_loss=0.5, seconds=1.0)
    values: dict[str, Any] = {"method": given.name, "config": given.values(), "reports": (last,)}
    return Trial(number=number, **{"seed": 0, "state": State.COMPLETE, **values, **fields})


def test_a_similar_study_is_followed_and_not_a_dissimilar_one(store: Store) -> None:
    store.study("near", {GOOD: 0.9, OTHER: 0.6, POOR: 0.5})
    store.study("far", {GOOD: 0.6, OTHER: 0.9, POOR: 0.5}, FAR)
    assert store.suggested() == [Suggestion(GOOD, "memory: near")]


def test_a_task_of_the_same_kind_is_followed_before_a_closer_one_of_another(store: Store) -> None:
    store.study("numbers", {OTHER: 0.9, POOR: 0.5}, kind="regression")
    store.study("pairs", {GOOD: 0.9, POOR: 0.5}, FAR, kind="pair-classification")
    assert [one.origin for one in store.suggested(4)] == ["memory: pairs", "memory: numbers"]


def test_of_equal_tasks_the_one_on_the_same_backbone_is_followed(store: Store) -> None:
    wide = {"model_type": "llama", "hidden_size": 2048}
    store.study("another", {GOOD: 0.6, OTHER: 0.9, POOR: 0.5}, backbone=wide)
    store.study("same", {GOOD: 0.9, OTHER: 0.6, POOR: 0.5})
    assert store.suggested()[0].origin == "memory: same"


def test_an_easy_dataset_counts_no_more_than_a_hard_one(store: Store) -> None:
    # on the raw scores OTHER's mean is higher: .72 against .71
    store.study("easy", {GOOD: 0.995, OTHER: 0.985, POOR: 0.98, adapter(3e-4): 0.99})
    store.study("hard", {GOOD: 0.43, OTHER: 0.45, POOR: 0.3, adapter(3e-4): 0.4})
    store.study("other hard", {GOOD: 0.43, OTHER: 0.42, POOR: 0.3, adapter(3e-4): 0.41})
    assert store.suggested()[0].config == GOOD


def test_what_one_study_praises_and_others_saw_fail_waits(store: Store) -> None:
    store.study("lucky", {OTHER: 0.9, GOOD: 0.8, POOR: 0.3, adapter(2e-4): 0.2})
    for name in ("second", "third"):
        seen = store.study(name, {GOOD: 0.8, POOR: 0.3})
        diverged = trial(5, OTHER, math.nan, state=State.FAIL)
        store.database.add_trials(seen.id, [diverged])
    assert store.suggested()[0].config == GOOD


def test_nothing_comes_from_unfinished_studies_or_from_trials_that_did_not_end_well(store: Store) -> None:
    store.study("running", {GOOD: 0.9, POOR: 0.5}, state=State.RUNNING)
    store.study("failed", {GOOD: 0.9, POOR: 0.5}, state=State.FAIL)
    finished = store.study("finished", {POOR: 0.1, adapter(2e-4): 0.9, METHODS["bitfit"](): 0.5})
    unfinished = [
        trial(10, GOOD, 0.95, state=State.PRUNED),
        trial(11, OTHER, 0.95, state=State.FAIL),
        trial(12, lora(5e-3), 0.95, repeat_of=0),
    ]
    store.database.add_trials(finished.id, unfinished)
    assert [one.config for one in store.suggested(10)] == [adapter(2e-4)], "POOR beat nobody"


def test_only_what_a_narrowed_space_can_propose_is_suggested(store: Store) -> None:
    chosen_layers = lora(5e-4, layers="0 2")  # allowed by the domain, and not searched
    scores = {GOOD: 0.9, OTHER: 0.8, chosen_layers: 0.95, adapter(2e-4): 0.7}
    store.study("all", {**scores, **BAD})
    wide = {one.config for one in store.suggested(10)}
    assert wide == {GOOD, OTHER, adapter(2e-4)}
    narrow = Space(
        SPACE.only(["lora"]).methods,
        {"lora": {**SPACE.domains["lora"], "learning_rate": Float(1e-3, 1e-2, log=True)}},
    )
    assert [one.config for one in store.suggested(10, space=narrow)] == [GOOD]
    fixed = Space(narrow.methods, {"lora": {**SPACE.domains["lora"], "rank": Choice(4)}})
    assert store.suggested(10, space=fixed) == []


def test_fields_and_methods_that_are_gone_are_passed_over(store: Store) -> None:
    old = store.study("old", {GOOD: 0.7, **BAD})
    gone = [
        trial(10, GOOD, 0.9, method="houlsby"),
        trial(11, GOOD, 0.9, config={"warmth": 3}),
        trial(12, GOOD, 0.9, config={"rank": 8000}),
    ]
    store.database.add_trials(old.id, gone)
    assert [one.config for one in store.suggested(10)] == [GOOD]
    # they still count as what GOOD was beaten by
    assert rank(store.database.study(old.id).trials, "accuracy")[0] == pytest.approx(4 / 7)


def test_suggestions_differ_from_the_defaults_from_each_other_and_from_what_was_tried(store: Store) -> None:
    nearly_default = METHODS["lora"].from_values({"learning_rate": 2.1e-3})
    nearly_good = lora(8.2e-3)
    store.study("near", {nearly_default: 0.95, GOOD: 0.9, nearly_good: 0.89, OTHER: 0.8, **BAD})
    told = [one.config for one in store.suggested(10)]
    assert told == [GOOD, OTHER]
    new = store.study("new", {lora(4.1e-4): 0.5}, state=State.RUNNING)
    again = suggest(new, similar_studies(store.database, new), SPACE, 10)
    assert [one.config for one in again] == [GOOD]


def test_suggestions_are_spread_over_methods(store: Store) -> None:
    store.study("near", {GOOD: 0.9, OTHER: 0.85, adapter(2e-4): 0.8, **BAD})
    assert [one.config for one in store.suggested(3)] == [GOOD, adapter(2e-4), OTHER]


def test_the_same_store_suggests_the_same(store: Store) -> None:
    chance = np.random.default_rng(0)
    rates = np.geomspace(3e-4, 9e-3, 12)
    for i in range(7):
        scores = {make(float(rate)): chance.random() for rate in rates for make in (lora, adapter)}
        features = {name: chance.normal() * unit for name, unit in SPREAD.items()}
        store.study(f"study-{i}", scores, features)
    first = store.suggested(8)
    assert len(first) == 8 and store.suggested(8) == first
    assert not any(alike(one.config, other, SPACE) for one in first for other in defaults(SPACE))


def test_the_portfolio_stands_in_only_for_its_kind_of_task(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(monkeypatch, ["classification"], [OTHER, POOR, METHODS["vera"]()])
    assert store.suggested(5, kind="pair-classification") == [
        Suggestion(OTHER, "portfolio"),
        Suggestion(POOR, "portfolio"),
    ]
    assert store.suggested(5, kind="regression") == []
    store.study("near", {GOOD: 0.9, POOR: 0.1})
    assert [one.origin for one in store.suggested(2)] == ["memory: near", "portfolio"]


def test_the_shipped_portfolio_holds_configurations_of_known_methods_and_says_what_made_it() -> None:
    kept = shipped()
    assert set(kept["kinds"]) <= {single(kind) for kind in KINDS}
    for one in kept["configurations"]:
        assert METHODS[one["method"]].from_values(one["values"]).values() == one["values"]
    assert "benchmarks/portfolio.py" in kept["provenance"]["script"]


def test_a_study_from_before_meta_features_is_still_asked(store: Store) -> None:
    old = store.database.create_study("old", {}, {"kind": "classification", "metric": "accuracy"}, "me")
    store.database.add_trials(old.id, [trial(0, GOOD, 0.9), trial(1, POOR, 0.2)])
    store.database.set_study_state(old.id, State.COMPLETE)
    assert store.suggested() == [Suggestion(GOOD, "memory: old")]


def test_ranks_are_those_of_scipy_between_the_last_and_the_first() -> None:
    scores = np.random.default_rng(1).choice([0.5, 0.6, 0.7, 0.8], 12)
    trials = [trial(i, GOOD, float(score)) for i, score in enumerate(scores)]
    found = rank(trials, "accuracy")
    assert [found[i] for i in range(12)] == pytest.approx((rankdata(scores) - 1) / 11)
    assert rank(trials[:1], "accuracy") == {0: 0.5}
    assert rank([], "accuracy") == {}


def test_whole_trainings_rank_above_cut_ones_and_those_above_diverged_ones() -> None:
    early = replace(trial(0, GOOD, 0.9, state=State.PRUNED).reports[0], epochs=2)
    trials = [
        trial(0, GOOD, 0.0, state=State.PRUNED, reports=(early,)),
        trial(1, GOOD, 0.8, state=State.PRUNED),
        trial(2, GOOD, 0.1),
        trial(3, GOOD, math.nan, state=State.FAIL),
        trial(4, GOOD, 0.0, state=State.FAIL, reports=()),
    ]
    assert rank(trials, "accuracy") == pytest.approx({3: 0, 0: 1 / 3, 1: 2 / 3, 2: 1})


def test_one_trial_in_four_may_come_from_the_memory() -> None:
    kept = [trial(i, GOOD, 0.5, origin=o) for i, o in enumerate(["default", "memory: a", "portfolio", None])]
    assert open_places([], 16) == 4
    assert open_places(kept, 16) == 2
    assert open_places(kept, 8) == open_places(kept, 3) == 0


def test_a_trial_knows_who_proposed_it() -> None:
    told = [Suggestion(GOOD, "memory: near")]
    assert origin_of(defaults(SPACE)[0], SPACE, told) == "default"
    assert origin_of(GOOD, SPACE, told) == "memory: near"
    assert origin_of(OTHER, SPACE, told) == "sampler"
