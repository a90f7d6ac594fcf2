"""Full fine-tuning as a baseline of every study: never proposed, never counted, always compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from tables import Store, Table, run

from selector.budget import Clock
from selector.finalists import plan_finals
from selector.jobs import Bracket
from storage.records import Report, State, Trial


def attempts(store: Store) -> list[Trial]:
    return [t for t in store.study.trials if t.method == "full" and t.repeat_of is None]


def repeats(store: Store) -> list[Trial]:
    return [t for t in store.study.trials if t.method == "full" and t.repeat_of is not None]


def test_the_best_of_three_learning_rates_is_repeated_beside_all_finalists(tmp_path: Path) -> None:
    store = Store(tmp_path, full_finetuning=True, trials=10, finalists=4)
    run(store.search(), Table())
    tried = attempts(store)
    assert {t.config["learning_rate"]: t.epochs for t in tried} == {1e-5: 2, 3e-5: 8, 1e-4: 2}
    (best,) = (t for t in tried if t.state is State.COMPLETE)
    assert {(t.repeat_of, t.seed) for t in repeats(store)} == {(best.number, seed) for seed in (1, 2, 3)}
    others = [t for t in store.study.trials if t.method != "full"]
    assert sum(t.repeat_of is None for t in others) == 10, "it is not counted among the trials"
    assert len({t.repeat_of for t in others if t.repeat_of is not None}) == 4, "it takes nobody's place"


def test_one_module_of_all_seeds_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, full_finetuning=True)
    run(store.search(), Table())
    assert [t.module_file is not None for t in repeats(store)] == [True, False, False]
    assert not any(t.module_file for t in attempts(store))
    assert all(t.predictions_file for t in repeats(store)), "all of them are compared"


def test_it_is_left_out_when_it_is_not_asked_for_or_cannot_run(tmp_path: Path) -> None:
    for name, asked, cannot in (("asked", False, ""), ("quantised", True, "its weights are quantised")):
        folder = tmp_path / name
        folder.mkdir()
        store = Store(folder, full_finetuning=asked)
        search = store.search(no_full=cannot)
        run(search, Table())
        assert attempts(store) == [] and search.left_out == (cannot or "it was not asked for")


def test_it_is_left_out_when_no_learning_rate_can_be_trained(tmp_path: Path) -> None:
    store = Store(tmp_path, full_finetuning=True)
    search = store.search()
    run(search, Table(diverging="full"))
    assert {t.state for t in attempts(store)} == {State.FAIL} and not repeats(store)
    assert search.left_out == "diverged"


def test_a_study_that_died_trains_no_learning_rate_twice(tmp_path: Path) -> None:
    for death in (5, 6, 7, 8, 13):  # in the first bracket, in each rung of its own, among the repeats
        folder = tmp_path / str(death)
        folder.mkdir()
        store = Store(folder, full_finetuning=True)
        run(store.search(), Table(), stop_after=death)
        before = {t.number: t for t in store.study.trials if t.state in (State.COMPLETE, State.PRUNED)}
        run(store.search(), Table())
        after = {t.number: t for t in store.study.trials}
        assert all(after[number] == trial for number, trial in before.items())
        rates = [t.config["learning_rate"] for t in attempts(store) if t.state is not State.FAIL]
        assert sorted(rates) == [1e-5, 3e-5, 1e-4]
        done = [(t.repeat_of, t.seed) for t in repeats(store) if t.state is State.COMPLETE]
        assert len(done) == len(set(done)) == 3
        assert sum(t.module_file is not None for t in repeats(store)) == 1


def test_who_names_full_searches_it_and_no_baseline_is_added(tmp_path: Path) -> None:
    store = Store(tmp_path, full_finetuning=True, methods=("full", "lora"), trials=4)
    run(store.search(), Table())
    assert not attempts(store), "the table's space has no full fine-tuning to propose"


def test_under_a_budget_it_comes_after_the_search_or_at_half_of_the_time(tmp_path: Path) -> None:
    store, table = Store(tmp_path, full_finetuning=True, trials=100, budget_seconds=1000.0), Table()
    clock = Clock(1000.0)
    search = store.search(clock)
    methods = []
    for used in (0, 100, 200, 501):
        object.__setattr__(clock, "started", clock.started + clock.seconds - used)
        job = search.next_job(slots=1)
        assert job is not None and hasattr(job, "seed") or isinstance(job, Bracket)
        if isinstance(job, Bracket):
            methods.append({entry.method for entry in job.entries})
        for result in table.perform(job):
            search.record(job, result)
        search.ended(job)
    assert [found == {"full"} for found in methods] == [False, False, True]


def test_under_a_budget_it_is_not_begun_when_its_first_rung_cannot_end(tmp_path: Path) -> None:
    store = Store(tmp_path, full_finetuning=True, trials=4, budget_seconds=100.0)
    time = [0.0]
    search = store.search(Clock(100.0, started=0.0, now=lambda: time[0]))
    for _ in range(2):
        job = search.next_job(slots=1)
        assert job is not None
        for result in Table().perform(job):  # type: ignore[arg-type]
            search.record(job, result)  # type: ignore[arg-type]
        search.ended(job)  # type: ignore[arg-type]
    time[0] = 50.0
    assert isinstance(search.next_job(slots=1), Bracket)
    # 3 rates x a quarter of 8 s x 3 for all weights = 18 s; until 60 % of the budget there are 10 s.
    assert not attempts(store)
    assert search.left_out == ("comparing its rates takes about 18 s, and the search had 10 s left")


def trained(number: int, method: str, seconds: float) -> Trial:
    report = Report(rung=2, epochs=8, metrics={"accuracy": 0.5}, train_loss=0.1, seconds=seconds)
    return Trial(number=number, method=method, config={}, seed=0, state=State.COMPLETE, reports=(report,))


@pytest.mark.parametrize(
    ("remaining", "seeds", "full_seeds"),
    [(1e9, 3, 3), (180.0, 3, 2), (130.0, 3, 1), (129.0, 3, 0), (60.0, 2, 0)],
)
def test_it_gets_those_seeds_that_the_finalists_leave_time_for(
    remaining: float, seeds: int, full_seeds: int
) -> None:
    # Three finalists of 10 s with three seeds take 90 s; one training of all weights takes 40 s.
    modules = [trained(number, "lora", 10.0) for number in range(3)]
    full = trained(3, "full", 40.0)
    finals = plan_finals(
        modules, full, seeds=3, seconds=lambda t: t.reports[-1].seconds, slots=1, remaining=remaining
    )
    assert (len(finals.finalists), finals.seeds, finals.full_seeds) == (3, seeds, full_seeds)
    assert (finals.full is None) == (full_seeds == 0) == bool(finals.left_out)
    if finals.left_out:
        assert finals.left_out.startswith("one training of it takes about 40 s")
