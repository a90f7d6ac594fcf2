"""The buttons of a study: what is offered in which state, and what a click leaves in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from pages import opened, texts
from streamlit.testing.v1 import AppTest

from selector.control import CANCELLED, paused_message
from storage.database import Database
from storage.records import Request, State, Study

NEW: Mapping[str, Any] = {"trials": (), "baselines": (), "recommendation": None, "export": False}


@pytest.fixture
def under_way(stored: Callable[..., Study], study: Study) -> Callable[..., Study]:
    """A study with one trial in training, in some state."""

    def store(state: State, **changes: Any) -> Study:
        trials = (study.trials[0], replace(study.trials[1], state=State.RUNNING))
        return stored(**{**NEW, "trials": trials, "state": state, **changes})

    return store


def offered(page: AppTest) -> set[str]:
    return {button.label for button in page.button}


def click(page: AppTest, key: str) -> AppTest:
    page.button(key=key).click().run()
    assert not page.exception
    return page


def test_a_study_in_the_queue_is_paused_at_once_and_put_back(
    database: Database, under_way: Callable[..., Study]
) -> None:
    study = under_way(State.WAITING)
    page = click(opened("progress", study.name), "pause")
    paused = database.study(study.id)
    assert (paused.state, paused.request, paused.worker) == (State.WAITING, Request.PAUSE, None)
    assert "Paused; everything is kept" in texts(page) and "peltier resume tickets-1" in texts(page)
    assert database.claim_study("worker") is None  # no worker takes a paused study
    assert offered(page) == {"Resume", "Cancel this study for good"}
    page = click(page, "resume")
    assert "Waiting in the queue" in texts(page)
    assert offered(page) == {"Pause", "Cancel this study for good"}
    taken = database.claim_study("worker")
    assert taken is not None and (taken.id, taken.request) == (study.id, None)


def test_a_running_study_is_left_to_its_worker_after_the_rung(
    database: Database, under_way: Callable[..., Study]
) -> None:
    study = under_way(State.RUNNING, message="bracket 1")
    page = click(opened("progress", study.name), "pause")
    asked = database.study(study.id)
    assert (asked.state, asked.request, asked.worker) == (State.RUNNING, Request.PAUSE, "worker")
    assert "Running: bracket 1; to be paused after the rung in flight" in texts(page)
    assert offered(page) == {"Cancel this study for good"}
    page = click(page, "cancel")
    assert database.study(study.id).request is Request.CANCEL
    assert "to end after the rung in flight" in texts(page) and not offered(page)


def test_a_cancelled_study_keeps_what_had_finished_and_offers_nothing(
    database: Database, under_way: Callable[..., Study]
) -> None:
    study = under_way(State.WAITING)
    page = click(opened("progress", study.name), "cancel")
    ended = database.study(study.id)
    assert (ended.state, ended.message) == (State.FAIL, CANCELLED)
    assert [trial.state for trial in ended.trials] == [State.COMPLETE, State.PRUNED]
    assert not page.error and not offered(page)
    assert page.warning[0].value == "Cancelled; what had finished is kept."


def test_a_study_that_broke_off_goes_on_where_something_is_left_to_train(
    database: Database, under_way: Callable[..., Study], stored: Callable[..., Study]
) -> None:
    broken = under_way(State.RUNNING)
    database.break_off(broken.id, "the process ended")
    page = opened("progress", broken.name)
    assert "The study failed: the process ended" in page.error[0].value
    assert offered(page) == {"Resume"}
    page = click(page, "resume")
    assert database.study(broken.id).state is State.WAITING and "Waiting in the queue" in texts(page)
    for state in (State.FAIL, State.COMPLETE):
        assert not offered(opened("progress", stored(name=state.lower(), state=state, export=False).name))


def test_a_button_that_comes_too_late_says_why(database: Database, under_way: Callable[..., Study]) -> None:
    study = under_way(State.WAITING)
    page = opened("progress", study.name)
    database.cancel(study.id, CANCELLED)  # by somebody else, before the page was drawn again
    page = click(page, "pause")
    assert r"study tickets\-1 is ended (cancelled; " in page.error[0].value.replace(r"\(", "(")
    assert not offered(page)


def test_a_paused_study_never_asks_for_a_worker(
    database: Database, under_way: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.studies.PATIENCE_SECONDS", -1.0)
    study = under_way(State.WAITING)
    database.rest(study.id, paused_message(study.name), paused=True)
    assert not opened("progress", study.name).warning
