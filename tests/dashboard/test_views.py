"""The pages, run without a browser on a real store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from kinds import write_file
from pages import REVIEWS, opened, texts
from rich.console import Console

from dashboard.studies import elapsed
from selector.display import print_study
from storage.database import Database
from storage.records import State, Study, Trial


def test_every_page_of_a_finished_study_is_drawn(stored: Callable[..., Study]) -> None:
    name = stored().name
    for view in ("submit", "progress", "leaderboard", "gates", "recommendation"):
        page = opened(view, name)
        assert not page.exception and not page.error, (view, texts(page))


def test_recommendation_names_the_split_the_interval_and_the_seeds(stored: Callable[..., Study]) -> None:
    page = opened("recommendation", stored().name)
    values = {metric.label: metric.value for metric in page.metric}
    assert values["Test accuracy"] == values["Validation accuracy"] == "0.850"
    assert "95 % interval 0.800 to 0.890, 3 seeds" in texts(page)
    assert [button.label for button in page.get("download_button")] == ["Download export"]
    assert page.code[0].value == "peltier predict tickets-1-export INPUT.csv"


def test_elapsed_time_of_a_study_that_goes_on_leaves_out_its_pause(study: Study) -> None:
    now = datetime.now(UTC)
    runs = tuple({"at": (now - timedelta(seconds=ago)).isoformat()} for ago in (9000, 40))
    running = replace(study, state=State.RUNNING, started=now - timedelta(hours=2), seconds=300.0, runs=runs)
    assert elapsed(running) == 300.0
    assert elapsed(replace(running, seconds=10.0)) == pytest.approx(40, abs=5)
    assert elapsed(replace(running, state=State.COMPLETE, seconds=10.0)) == 10.0


def test_a_study_with_several_objectives_shows_each_cost_its_front_and_the_latency(
    stored: Callable[..., Study], study: Study
) -> None:
    assert study.recommendation is not None
    known = {"ms": 12.5, "ratio": 1.25, "batch_ms": 90.0, "batch_ratio": 1.1, "tokens": 24, "device": "cpu"}
    front = {
        "objectives": ["metric", "latency", "bytes"],
        "trials": [0],
        "values": [[0.9, 1.25, 160_000]],
        "hypervolume": 0.4321,
        "reference": [0.5, 2.0, 400_000.0],
    }
    name = stored(
        spec={**study.spec, "objectives": ["metric", "latency", "bytes"]},
        trials=tuple(replace(t, latency=known if t.number == 0 else None) for t in study.trials),
        recommendation={**study.recommendation, "latency": known, "front": front},
    ).name
    board = opened("leaderboard", name)
    assert not board.exception
    told = texts(board)
    assert "Validation accuracy against inference latency" in told and "against stored bytes" in told
    assert "against trainable parameters" not in told
    assert "Hypervolume of the front of all 3 objectives" in told and "0.432" in told
    assert "1.25 times what the plain backbone takes" in texts(opened("recommendation", name))


def test_a_front_of_nothing_is_told_in_words(stored: Callable[..., Study], study: Study) -> None:
    assert study.recommendation is not None
    front = {
        "objectives": ["metric", "bytes"],
        "trials": [],
        "values": [],
        "hypervolume": 0.0,
        "reference": [0, 1],
    }
    spec = {**study.spec, "objectives": ["metric", "bytes"]}
    found = stored(spec=spec, recommendation={**study.recommendation, "front": front})
    page = opened("leaderboard", found.name)
    assert "No configuration of the search was trained to the end" in texts(page)
    console = Console(file=StringIO())
    print_study(found, "sqlite:///peltier.db", console)
    assert isinstance(console.file, StringIO)
    assert "no Pareto front: no configuration was trained to the end" in console.file.getvalue()


def test_recommendation_tells_what_luck_adds_and_what_would_change_the_choice(
    stored: Callable[..., Study], study: Study
) -> None:
    assert study.recommendation is not None
    more = {
        "winners_curse": {"contenders": 4, "highest": 0.85, "expected_drop": 0.012},
        "would_change": ["More validation rows: about 4,200 would do."],
        "test_opened": "2026-01-02T03:04:05+00:00",
    }
    page = opened("recommendation", stored(recommendation={**study.recommendation, **more}).name)
    assert not page.exception
    (curse,) = (metric for metric in page.metric if "as expected on new data" in metric.label)
    assert (curse.value, curse.delta) == ("0.838", "-1.2 points")
    assert "about 4,200 would do" in texts(page)
    assert "It was opened once, at 2026-01-0" in texts(page)


def test_test_scores_of_baselines_are_shown_when_the_choice_stands(
    stored: Callable[..., Study], study: Study
) -> None:
    sealed = tuple(replace(baseline, test={}) for baseline in study.baselines)
    running = stored(state=State.RUNNING, baselines=sealed, recommendation=None, export=False)
    assert not opened("leaderboard", running.name).exception


def test_text_baseline_has_nothing_to_download_and_the_page_says_so(
    stored: Callable[..., Study], study: Study
) -> None:
    assert study.recommendation is not None
    trained = study.recommendation["compared"][0]
    winner = {
        **study.recommendation,
        "trial": None,
        "method": "tfidf_logistic_regression",
        "alternatives": [{"why": "best trained module", **trained}],
    }
    page = opened("recommendation", stored(recommendation=winner, export=False).name)
    assert not page.exception and not page.get("download_button")
    assert "there is nothing to download" in texts(page)
    assert page.code[0].value == "peltier export tickets-1 FOLDER --trial 0"


def test_lost_export_folder_is_told_with_the_way_out(stored: Callable[..., Study], tmp_path: Path) -> None:
    name = stored().name
    (tmp_path / "export" / "manifest.json").unlink()
    (tmp_path / "export").rmdir()
    page = opened("recommendation", name)
    assert not page.exception
    assert "is not on this machine" in page.error[0].value


def test_gates_of_the_best_complete_mixture_come_first_and_others_can_be_chosen(
    stored: Callable[..., Study], study: Study, mixture: Trial
) -> None:
    cut = replace(
        mixture, number=9, state=State.PRUNED, reports=mixture.reports[:1], config={"modules": "AP"}
    )
    worse = replace(mixture, number=10, reports=mixture.reports[:2])
    page = opened("gates", stored(trials=(*study.trials, cut, worse, mixture)).name)
    assert not page.exception and not page.error, texts(page)
    trials = page.selectbox(key="gated_tickets-1")
    assert trials.options == [
        "UniPELT, trial 8: validation accuracy 0.600, complete",
        "UniPELT, trial 10: validation accuracy 0.500, complete",
        "UniPELT, trial 9: validation accuracy 0.300, stopped early",
    ]
    assert trials.value == 8
    assert "Near 0 the module is not used" in texts(page)
    trials.set_value(9).run()
    assert not page.exception
    assert "modules AP" in texts(page)


def test_study_without_gates_says_how_to_get_some(stored: Callable[..., Study], study: Study) -> None:
    page = opened("gates", stored().name)
    assert not page.exception and not page.get("plotly_chart")
    assert "No trial of this study has gates" in page.info[0].value
    assert page.code[0].value == "peltier search DATA --methods unipelt"


def test_study_that_runs_may_still_get_gates(stored: Callable[..., Study], study: Study) -> None:
    running = stored(state=State.RUNNING, trials=study.trials[:2], recommendation=None, export=False)
    page = opened("gates", running.name)
    assert not page.exception and not page.code
    assert "No gates have been measured yet" in page.info[0].value


def test_study_that_waits_too_long_asks_for_a_worker(
    stored: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = stored(state=State.WAITING, trials=(), baselines=(), recommendation=None, export=False)
    fresh = opened("progress", waiting.name)
    assert not fresh.exception and not fresh.warning  # a worker may still be on its way
    monkeypatch.setattr("dashboard.studies.PATIENCE_SECONDS", -1.0)
    late = opened("progress", waiting.name)
    assert "start a worker" in late.warning[0].value
    assert late.code[0].value == "peltier work"


def test_failed_study_shows_its_message_as_plain_text(stored: Callable[..., Study]) -> None:
    failed = stored(state=State.FAIL, message="all *three* trials failed", recommendation=None, export=False)
    assert r"all \*three\* trials failed" in opened("progress", failed.name).error[0].value
    assert r"all \*three\* trials failed" in opened("recommendation", failed.name).error[0].value


def test_running_study_counts_configurations_and_repeats(stored: Callable[..., Study], study: Study) -> None:
    trials = (*study.trials[:3], replace(study.trials[3], state=State.RUNNING))
    running = stored(
        state=State.RUNNING, trials=trials, recommendation=None, export=False, message="bracket 1"
    )
    page = opened("progress", running.name)
    values = {metric.label: metric.value for metric in page.metric}
    assert (values["Running"], values["Trained to the end"]) == ("1", "3")
    assert "Running: bracket 1" in texts(page)


def test_unknown_study_in_the_address_gives_the_newest_and_a_warning(stored: Callable[..., Study]) -> None:
    stored()
    page = opened("progress", "gone")
    assert "no study gone" in page.warning[0].value
    assert page.selectbox(key="study_choice").value == "tickets-1"


@pytest.mark.usefixtures("database")
def test_empty_store_leads_to_the_submit_page() -> None:
    for view in ("progress", "leaderboard", "gates", "recommendation"):
        page = opened(view)
        assert not page.exception
        assert page.info[0].value == "There is no study yet."


def test_store_that_cannot_be_opened_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELTIER_DATABASE_URL", "mysql://nowhere/peltier")
    page = opened("progress")
    assert not page.exception
    assert len(page.error) == 1


@pytest.mark.usefixtures("database")
def test_wrong_file_is_one_line_and_loses_nothing_typed() -> None:
    page = opened("submit")
    page.text_input(key="name").set_value("my-study")
    page.number_input(key="trials").set_value(7)
    page.get("file_uploader")[0].upload("broken.csv", "text,label\ncaf\xe9,yes\n".encode("latin-1"))
    page.run()
    assert not page.exception
    assert len(page.error) == 1
    assert "not UTF" in page.error[0].value and "peltier-upload" not in page.error[0].value
    assert page.button(key="start").disabled
    assert page.text_input(key="name").value == "my-study"
    assert page.number_input(key="trials").value == 7


def test_good_file_is_understood_and_queued(database: Database, tiny_folder: Path) -> None:
    page = opened("submit")
    page.get("file_uploader")[0].upload("reviews.csv", REVIEWS)
    page.text_input(key="backbone").set_value(str(tiny_folder))
    page.selectbox(key="metric").set_value("macro_f1")
    page.run()
    assert not page.exception and not page.error, texts(page)
    assert "into 2 labels" in texts(page) and "macro F1" in texts(page)
    assert page.dataframe[0].value.shape == (5, 2)  # the preview
    page.button(key="start").click().run()
    assert not page.exception and not page.error, texts(page)
    (queued,) = database.studies()
    assert (queued.name, queued.state) == ("reviews-1", State.WAITING)
    assert queued.task["metric"] == "macro_f1"
    assert "reviews\\-1 is queued" in texts(page)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("file", "understood", "tables"),
    [
        ("stars.csv", "the numbers of column **stars**, scored by **Pearson correlation**", 2),
        ("topics.jsonl", "into 4 labels of column **labels**, scored by **micro F1**", 3),
        ("parts.jsonl", "into 3 labels of column **tags**, scored by **token accuracy**", 3),
    ],
)
def test_every_kind_of_file_is_understood(
    file: str, understood: str, tables: int, tiny_folder: Path, tmp_path: Path
) -> None:
    page = opened("submit")
    page.get("file_uploader")[0].upload(file, write_file(tmp_path, file).read_bytes())
    page.text_input(key="backbone").set_value(str(tiny_folder))
    page.run()
    assert not page.exception and not page.error, texts(page)
    assert understood in texts(page)
    assert len(page.dataframe) == tables  # the preview, the splits, and the labels where there are some
    assert not page.button(key="start").disabled


def test_taken_name_is_told_and_nothing_is_queued_twice(
    stored: Callable[..., Study], database: Database, tiny_folder: Path
) -> None:
    page = opened("submit", stored().name)
    page.get("file_uploader")[0].upload("reviews.csv", REVIEWS)
    page.text_input(key="backbone").set_value(str(tiny_folder))
    page.text_input(key="name").set_value("tickets-1")
    page.run()
    page.button(key="start").click().run()
    assert "already" in page.error[0].value
    assert len(database.studies()) == 1


def test_data_with_an_error_starts_only_when_that_is_insisted_on(
    database: Database, tiny_folder: Path
) -> None:
    page = opened("submit")
    page.get("file_uploader")[0].upload("few.csv", b"".join(REVIEWS.splitlines(keepends=True)[:9]))
    page.text_input(key="backbone").set_value(str(tiny_folder))
    page.run()
    assert not page.exception
    assert "Too few rows**: test has 2 rows," in texts(page)
    assert page.button(key="start").disabled
    page.checkbox[0].check().run()
    page.button(key="start").click().run()
    assert not page.exception, texts(page)
    (queued,) = database.studies()
    assert queued.task["findings"][0]["severity"] == "error"
    shown = opened("progress", queued.name)
    assert not shown.exception
    assert shown.expander[0].label.startswith("Data checks: 1 error")


def test_findings_come_first_on_the_page_of_a_study_and_are_plain_text(stored: Callable[..., Study]) -> None:
    finding = {
        "check": "label typos",
        "severity": "warning",
        "what": "2 of 9 labels differ by case",
        "count": 2,
        "share": 0.2,
        "examples": ["'[no](http://example.invalid)' (3 rows)"],
        "advice": "write one label in one way",
    }
    study = stored()
    checked = stored(name="checked", task={**study.task, "findings": [finding]}, export=False)
    page = opened("progress", checked.name)
    assert page.expander[0].label == "Data checks: 0 errors, 1 warning, 0 pieces of advice"
    assert r"\[no\]\(http\://example.invalid\)" in page.warning[0].value
    assert not opened("progress", study.name).expander  # stored by a version that did not check


@pytest.mark.usefixtures("database")
def test_missing_backbone_is_one_line() -> None:
    page = opened("submit")
    page.get("file_uploader")[0].upload("reviews.csv", REVIEWS)
    page.text_input(key="backbone").set_value("/no/such/backbone")
    page.run()
    assert not page.exception
    assert len(page.error) == 1
    assert page.button(key="start").disabled
