"""What tables and charts show of a study."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from markdown_it import MarkdownIt

from dashboard.frames import board, contenders, curve_points, finished
from dashboard.words import duration, number, plain
from storage.records import Study


def test_board_holds_baselines_and_trials_but_no_repeats(study: Study) -> None:
    rows = board(study)
    assert rows["kind"].tolist() == ["baseline"] * 2 + ["trial"] * 5
    assert rows["trial"].dropna().tolist() == [0, 1, 2, 3, 4]
    assert rows["state"].tolist()[2:] == ["complete"] * 3 + ["stopped early", "failed"]
    assert rows["score"].tolist()[:3] == [0.5, 0.75, 0.9]


def test_diverged_scores_are_missing_not_drawn(study: Study) -> None:
    first = study.trials[0]
    report = replace(first.reports[0], metrics={"accuracy": float("nan")})
    diverged = replace(study, trials=(replace(first, reports=(report,)),))
    assert board(diverged)["score"].isna().tolist() == [False, False, True]
    assert curve_points(diverged).empty


def test_states_are_counted_over_the_search_only(study: Study) -> None:
    assert finished(study) == {"complete": 3, "stopped early": 1, "failed": 1}


def test_contenders_are_all_that_were_compared_with_their_intervals(study: Study) -> None:
    rows = contenders(study).set_index(["name", "split"])
    names = list(dict.fromkeys(name for name, _ in rows.index))
    assert names == ["LoRA, trial 0", "linear probe", "bottleneck adapter, trial 2", "majority class"]
    assert rows.loc[("LoRA, trial 0", "test"), "high"] == 0.89
    assert rows.loc[("bottleneck adapter, trial 2", "test"), "mean"] == 0.5
    assert rows.loc[("majority class", "test"), "low"] < 0.4
    assert rows["recommended"].sum() == 2


def test_study_without_recommendation_has_no_contenders(study: Study) -> None:
    assert contenders(replace(study, recommendation=None)).empty


def test_frames_of_an_empty_study_keep_their_columns(study: Study) -> None:
    empty = replace(study, trials=(), baselines=(), recommendation=None)
    for frame in (board(empty), curve_points(empty), contenders(empty)):
        assert isinstance(frame, pd.DataFrame) and frame.empty and len(frame.columns)


def test_user_data_is_never_markup() -> None:
    hostile = "![x](http://a.invalid/p.png) <b>b</b> *c* _d_ `e` # f [g]: h \\ &amp; ~~i~~ | j"
    (paragraph,) = (token for token in MarkdownIt().parse(plain(hostile)) if token.type == "inline")
    assert {token.type for token in paragraph.children or ()} <= {"text", "text_special"}
    assert "".join(token.content for token in paragraph.children or ()) == hostile
    assert plain("$x$ :red[y]") == r"\$x\$ \:red\[y\]"  # Streamlit's own: formulas and colours
    assert plain("two\nlines") == "two lines"


def test_numbers_read_well() -> None:
    assert [number(value) for value in (0.00032, 0.25, 16.0, 8, "query value", True)] == [
        "3.2e-4",
        "0.25",
        "16",
        "8",
        "query value",
        "True",
    ]
    assert [duration(seconds) for seconds in (0.64, 42.9, 185, 7_800)] == [
        "0.6 s",
        "42 s",
        "3 min 5 s",
        "2 h 10 min",
    ]
