"""A study of one epoch over many rows: its poor configurations stop inside the epoch."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Shell
from place import Place

from selector.stopping import Stop
from storage.records import State, Study, Trial

ENDS = [0.25, 0.5, 1.0]
FEW = {"epochs": 1, "trials": 5, "finalists": 1}


@pytest.fixture(scope="module")
def place(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """What would take 4,000 rows is seen with the training split of 120."""
    place = Place(tmp_path_factory.mktemp("inside"), tiny_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.epochs.PART_ROWS", 16)
        place.service.run(place.submit(**FEW).id)
        yield place


def in_state(study: Study, state: State) -> list[int]:
    return [t.number for t in study.trials if t.state is state and t.repeat_of is None]


def test_who_is_cut_has_not_seen_all_rows(place: Place) -> None:
    study = place.study
    assert study.state is State.COMPLETE and study.recommendation is not None
    searched = [t for t in study.trials if t.repeat_of is None]
    assert {t.epochs for t in searched if t.state is State.PRUNED} <= {0.25, 0.5}
    assert in_state(study, State.PRUNED)
    for trial in searched:
        assert [report.epochs for report in trial.reports] == ENDS[: len(trial.reports)]
    repeats = [t for t in study.trials if t.repeat_of is not None]
    assert repeats and all([report.epochs for report in t.reports] == [1.0] for t in repeats)


def test_the_table_says_how_far_each_came(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place.folder)
    shell, study = Shell(monkeypatch, capsys), place.study
    cut = {t.number: t.epochs for t in study.trials if t.state is State.PRUNED}
    said = shell("show", "rows-1").out
    for number, epochs in cut.items():
        (row,) = (line for line in said.splitlines() if line.startswith(f"│ {number} "))
        assert f"│ {epochs:g} " in row
    assert "│ 1.0 " not in said
    told = shell("show", "rows-1", "--json").out
    assert {t["number"]: t["epochs"] for t in json.loads(told)["trials"] if t["number"] in cut} == cut
    assert '"epochs": 1,' in told and '"epochs": 1.0' not in told


def test_whoever_was_cut_is_reproduced_as_far_as_it_came(place: Place) -> None:
    study = place.study
    for number in (in_state(study, State.PRUNED)[0], in_state(study, State.COMPLETE)[0]):
        found = place.service.reproduce("rows-1", number, stack=True)
        assert found.exact and found.scores[-1].epochs == study.trials[number].epochs
        assert found.lines()[0].startswith("after 0.25 epochs: accuracy")


class AfterTheFirstRung(Stop):
    """As if Ctrl-C was pressed while the first rung ended."""

    def __call__(self) -> bool:
        if any(trial.reports for trial in self._database.study(self._id).trials):
            self.signal = signal.SIGINT
        return super().__call__()


def test_a_study_that_is_left_inside_an_epoch_goes_on_bit_for_bit(
    place: Place, tiny_folder: Path, tmp_path: Path
) -> None:
    other = Place(tmp_path, tiny_folder)
    service, study = other.service, other.submit(**FEW)
    left = service.run(study.id, stop=AfterTheFirstRung(service.database, study.id))
    begun = [t for t in left.trials if t.checkpoint_file is not None]
    assert begun and {t.epochs for t in begun} == {0.25}
    whole = service.run(study.id)
    assert timeless(whole) == timeless(place.study)


def timeless(study: Study) -> list[Trial]:
    """The trials, modules and predictions included, without what a clock tells."""
    return [
        replace(trial, latency=None, reports=tuple(replace(one, seconds=0.0) for one in trial.reports))
        for trial in study.trials
    ]
