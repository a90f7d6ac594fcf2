"""A trial is trained again from the store: it gives what is written down, or what differs is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Shell
from place import Place

from selector.provenance import differences, provenance, told
from selector.reproduction import reproduce
from selector.study import RequestError
from storage.records import State, Study


@pytest.fixture(scope="module")
def place(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("reproduced"), tiny_folder)
    place.service.run(place.submit().id)
    return place


def complete(study: Study) -> list[int]:
    return [trial.number for trial in study.trials if trial.state is State.COMPLETE]


def test_beside_its_neighbours_a_trial_gives_the_same_bits(place: Place) -> None:
    for number in complete(place.study):
        found = place.service.reproduce("rows-1", number, stack=True)
        assert found.exact and found.matches and found.module_difference == 0.0
        assert found.lines()[-1] == f"trial {number} is the same, bit for bit"


def test_alone_a_trial_gives_the_same_scores(place: Place) -> None:
    number = complete(place.study)[0]
    trial = place.study.trials[number]
    found = place.service.reproduce("rows-1", number)
    assert found.matches and not found.changed
    assert [score.epochs for score in found.scores[::2]] == [report.epochs for report in trial.reports]
    assert {score.name for score in found.scores} == {"accuracy", "loss"}
    assert found.module_difference is not None and found.module_difference < 1e-3


def test_a_trial_that_was_cut_is_trained_as_far_as_it_came(place: Place) -> None:
    cut = next(trial for trial in place.study.trials if trial.state is State.PRUNED)
    found = place.service.reproduce("rows-1", cut.number, stack=True)
    assert found.exact and found.module_difference is None
    assert found.scores[-1].epochs == cut.reports[-1].epochs < 4


def test_what_is_written_down_wrongly_is_not_reproduced(place: Place) -> None:
    study, number = place.study, complete(place.study)[0]
    trial = study.trials[number]
    last = trial.reports[-1]
    forged = replace(last, metrics={**last.metrics, "accuracy": last.metrics["accuracy"] - 0.2})
    trials = [replace(t, reports=(*t.reports[:-1], forged)) if t is trial else t for t in study.trials]
    found = reproduce(place.service.files, replace(study, trials=tuple(trials)), number)
    assert not found.matches and found.lines()[-1] == f"trial {number} is NOT reproduced"


def test_the_command_prints_it_and_names_what_is_possible(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place.folder)
    shell, number = Shell(monkeypatch, capsys), complete(place.study)[0]
    said = shell("reproduce", "rows-1", str(number), "--json")
    assert said.status == 0 and json.loads(said.out)["matches"] is True
    said = shell("reproduce", "rows-1", "77")
    assert said.status == 2 and "study rows-1 has no trial 77; trials that were scored: 0, 1" in said.err
    with pytest.raises(RequestError, match="no trial was scored yet"):
        waiting = place.submit()
        place.service.reproduce(waiting.name, 0)


# ---------------------------------------------------------------------------------- provenance


def test_a_study_remembers_what_ran_it(place: Place) -> None:
    submitted, run = place.study.runs
    assert run["versions"].keys() >= {"python", "peltier", "torch", "transformers", "optuna"}
    assert run["commit"] is None or len(run["commit"].split()[0]) == 40
    assert submitted["at"] <= run["at"]
    assert place.study.spec["train"]["sha256"] and place.study.spec["seed"] is not None


def test_the_command_is_kept_without_the_password() -> None:
    url = "postgresql+psycopg://ann:hunter2@host/db"
    kept = told(["/usr/bin/peltier", "search", "my rows.csv", "--database", url, f"--database={url}"])
    assert kept == (
        "peltier search 'my rows.csv' --database postgresql+psycopg://ann:***@host/db "
        "--database=postgresql+psycopg://ann:***@host/db"
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/db?user=ann&password=hunter2",
        "postgresql://ann:hunter2@host/db?sslmode=require",
        "postgresql://ann:my hunter2@host/db",
        "postgresql://ann:hunter2@host:port/db",
    ],
)
def test_wherever_a_url_holds_its_password_it_is_left_out(url: str) -> None:
    for arguments in (["--database", url], [f"--database={url}"]):
        kept = told(["peltier", "search", "rows.csv", *arguments])
        assert kept.startswith("peltier search rows.csv --database") and "hunter2" not in kept


def test_what_changed_since_is_named() -> None:
    now = provenance()
    before = {**now, "versions": {**now["versions"], "torch": "1.0"}, "machine": "other (x86_64)"}
    assert differences(before, now) == [
        f"torch 1.0 then, {now['versions']['torch']} now",
        f"machine other (x86_64) then, {now['machine']} now",
    ]
    assert differences({}, now) == []
