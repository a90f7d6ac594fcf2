"""The options of the submit page: each reaches the stored request, and is refused as on the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import REVIEWS, opened, texts
from streamlit.testing.v1 import AppTest

from selector.__main__ import main
from selector.study import StudySpec
from storage.database import Database
from trainers.checks import examine

PAIRS = ((b"good", b"yes"), (b"bad", b"no"))
MANY = b"text,label\n" + b"".join(b"plot %d %s,%s\n" % (i, *PAIRS[i % 2]) for i in range(160))
TEXTS = {
    "budget": "20m",
    "device_budget": "90s",
    "max_parameters": "60%",
    "max_bytes": "1.5MB",
    "max_latency": "3x",
    "address": "auto",
    "name": "mine",
}
NUMBERS = {
    "trials": 7,
    "epochs": 4,
    "seeds": 2,
    "finalists": 3,
    "train_rows": 84,
    "folds": 1,
    "patience": 2,
    "seed": 5,
    "workers": 2,
    "cpus_per_worker": 1,
    "gpus_per_worker": 0.5,
}
WORDS = {
    "sampler": "gp",
    "early_exit": "hyperband",
    "truncation": "head+tail",
    "head": "native",
    "dtype": "fp32",
    "metric": "macro_f1",
}


def filled(backbone: Path) -> AppTest:
    """The page with a file and a backbone, not yet run."""
    page = opened("submit")
    page.get("file_uploader")[0].upload("reviews.csv", MANY)
    page.text_input(key="backbone").set_value(str(backbone))
    return page


def set_everything(page: AppTest) -> None:
    for key, text in TEXTS.items():
        page.text_input(key=key).set_value(text)
    for key, number in NUMBERS.items():
        page.number_input(key=key).set_value(number)
    for key, word in WORDS.items():
        page.selectbox(key=key).set_value(word)
    page.multiselect(key="methods").set_value(["lora", "bitfit"])
    page.multiselect(key="costs").set_value(["latency"])
    page.text_area(key="fix").set_value("lora.rank=8\n\nweight_decay = 0.0\n")
    page.text_area(key="range").set_value("lora.learning_rate=1e-3:5e-3")
    page.checkbox(key="full_finetuning").uncheck()
    page.checkbox(key="memory").uncheck()


Typed = Callable[[str], dict[str, Any]]


@pytest.fixture
def typed(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Types a command, with `submit` in place of `search`, and gives the request that it stores."""
    (tmp_path / "reviews.csv").write_bytes(MANY)
    monkeypatch.chdir(tmp_path)

    def stored_by(command: str) -> dict[str, Any]:
        before = len(database.studies())
        monkeypatch.setattr(sys, "argv", ["peltier", "submit", *shlex.split(command)[2:]])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code and len(database.studies()) == before + 1
        return dict(database.studies()[0].spec)

    return stored_by


def test_every_option_reaches_the_stored_request_and_the_shown_command(
    database: Database, tiny_folder: Path, typed: Typed
) -> None:
    page = filled(tiny_folder)
    set_everything(page)
    page.run()
    assert not page.exception and not page.error, texts(page)
    page.button(key="start").click().run()
    assert not page.exception and not page.error, texts(page)
    (queued,) = database.studies()
    assert queued.name == "mine"
    given = {**WORDS, **NUMBERS, **TEXTS, "budget_seconds": 1200.0, "device_seconds": 90.0}
    others = {"budget", "device_budget", "name"}
    for field, value in given.items():
        assert field in others or queued.spec[field] == value, field
    assert queued.spec["methods"] == ["lora", "bitfit"]
    assert queued.spec["objectives"] == ["metric", "latency"]
    assert queued.spec["narrowing"] == {
        "lora": {"rank": 8, "learning_rate": {"low": 1e-3, "high": 5e-3}},
        "all": {"weight_decay": 0.0},
    }
    assert not queued.spec["full_finetuning"] and not queued.spec["memory"]
    untouched = {f for f, value in queued.spec.items() if value == getattr(StudySpec, f, value)}
    assert untouched <= {"train", "validation", "test", "text", "text_pair", "label", "task", "backbone",
                         "methods", "narrowing", "runner", "bracket_size"}  # fmt: skip
    assert typed(page.code[0].value.replace("--name mine", "--name again")) == dict(queued.spec)


def test_the_form_and_the_command_line_have_the_same_defaults(
    database: Database, tiny_folder: Path, tmp_path: Path, typed: Typed
) -> None:
    page = filled(tiny_folder).run()
    page.button(key="start").click().run()
    assert not page.exception and not page.error, texts(page)
    (queued,) = database.studies()
    expected = (
        f"peltier search reviews.csv --backbone {tiny_folder} --database sqlite:///{tmp_path}/peltier.db"
    )
    assert page.code[0].value == expected
    assert typed(expected) == dict(queued.spec)


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        ("text_input", "budget", "soon", "budget 'soon' is no duration; write for example 90s, 20m or 1h30m"),
        ("text_input", "max_bytes", "a lot", "--max-bytes 'a lot' is no limit; write for example 2MB"),
        ("text_input", "max_latency", "0x", "--max-latency is 0x; it must be above zero"),
        ("text_input", "address", "nowhere", "'nowhere' is no address of a Ray cluster; write HOST:PORT"),
        ("text_area", "fix", "lora.rank", "--fix lora.rank is not understood"),
        ("text_area", "range", "lora.rank=8", "--range lora.rank=8 leaves one value"),
    ],
)
def test_a_wrong_entry_is_told_in_one_line_and_loses_nothing_typed(
    kind: str, key: str, value: str, message: str, database: Database
) -> None:
    page = opened("submit")
    page.number_input(key="patience").set_value(4)
    page.get("file_uploader")[0].upload("reviews.csv", REVIEWS)
    getattr(page, kind)(key=key).set_value(value)
    page.run()
    assert not page.exception
    (error,) = page.error
    assert message in error.value.replace("\\", "")
    assert page.button(key="start").disabled and not page.code
    assert page.number_input(key="patience").value == 4
    assert getattr(page, kind)(key=key).value == value
    assert not database.studies()


def test_what_the_backbone_or_the_task_does_not_allow_is_told_too(
    database: Database, tiny_folder: Path
) -> None:
    page = filled(tiny_folder)
    page.text_area(key="fix").set_value("lora.rnk=8")
    page.run()
    assert "lora has no field 'rnk'; possible fields" in page.error[0].value.replace("\\", "")
    page.text_area(key="fix").set_value("")
    page.number_input(key="patience").set_value(2)  # so few rows are trained in folds
    page.run()
    assert "or --folds 1 to have a split made" in page.error[0].value.replace("\\", "")
    page.number_input(key="folds").set_value(1)
    page.text_input(key="max_bytes").set_value("20kB")
    page.run()
    assert not page.error and not page.button(key="start").disabled
    assert "full fine-tuning is left out" in texts(page).replace("\\", "")
    assert page.code[0].value.count("--folds 1") == 1
    assert not database.studies()


def test_data_are_examined_again_only_when_other_rows_or_columns_are_asked_for(
    database: Database, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined = []

    def counted(*given: Any, **named: Any) -> Any:
        examined.append(given)
        return examine(*given, **named)

    monkeypatch.setattr("selector.checking.examine", counted)
    page = filled(tiny_folder)
    for key, value, times in (("trials", 5, 1), ("patience", 3, 1), ("seed", 9, 2)):
        page.number_input(key="folds").set_value(1)
        page.number_input(key=key).set_value(value)
        page.run()
        assert not page.exception and not page.error, texts(page)
        assert len(examined) == times, key
