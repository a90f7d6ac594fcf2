"""Which trials are repeated."""

from __future__ import annotations

from selector.finalists import choose_finalists
from storage.records import Report, State, Trial


def trial(
    number: int,
    score: float,
    loss: float,
    stored: int,
    *,
    epochs: int = 8,
    rung: int = 2,
    method: str = "lora",
) -> Trial:
    """A whole training where the last rung is 2, else one that was cut."""
    report = Report(
        rung=rung, epochs=epochs, metrics={"micro_f1": score, "loss": loss}, train_loss=0.5, seconds=1.0
    )
    state = State.COMPLETE if rung == 2 else State.PRUNED
    return Trial(
        number=number, method=method, config={}, seed=0, state=state, reports=(report,), stored_bytes=stored
    )


def chosen(*trials: Trial, count: int = 2) -> list[int]:
    return [one.number for one in choose_finalists(trials, "micro_f1", count)]


def test_the_loss_decides_between_equal_scores_before_the_size() -> None:
    trials = [trial(0, 0.0, 0.6, 10), trial(1, 0.0, 0.4, 99), trial(2, 0.0, 0.6, 5), trial(3, 0.1, 0.9, 50)]
    assert chosen(*trials, count=4) == [3, 1, 2, 0]


def test_a_training_that_stopped_early_is_not_behind_longer_ones() -> None:
    assert chosen(trial(0, 0.7, 0.5, 1), trial(1, 0.8, 0.5, 1, epochs=3), count=1) == [1]


def test_of_cut_trials_those_that_came_further_are_first() -> None:
    cut = [trial(0, 0.9, 0.5, 1, epochs=2, rung=0), trial(1, 0.8, 0.5, 1, epochs=4, rung=1)]
    assert chosen(*cut) == [1, 0]
    assert chosen(*cut, trial(3, 0.1, 0.5, 1), count=3) == [3], "only where nothing was trained to the end"


def test_the_best_of_each_method_is_first() -> None:
    trials = [trial(0, 0.9, 0.5, 1), trial(1, 0.8, 0.5, 1), trial(2, 0.7, 0.5, 1, method="adapter")]
    assert chosen(*trials) == [0, 2]
