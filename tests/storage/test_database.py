"""A study survives the process, exactly as it was."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from storage.database import Database, open_database
from storage.errors import StorageError
from storage.records import Baseline, Export, Gate, Report, State, Study, Trial

SPEC = {"methods": ["lora", "prefix"], "epochs": 4, "label \u0000 of a user \U0001f525": None}

GATES = (
    Gate(layer=0, module="prefix", role="attention", mean=0.25, deviation=0.03125),
    Gate(layer=0, module="lora", role="query", mean=1 / 3, deviation=1e-9),
)

LATENCY = {"ms": 1.25, "ratio": 1 / 3, "device": "cpu"}


def trial(number: int, **fields: Any) -> Trial:
    values: dict[str, Any] = {"method": "lora", "config": {"rank": 8}, "seed": 0, "state": State.WAITING}
    return Trial(number=number, **values | fields)


def report(rung: int = 0, **fields: Any) -> Report:
    values: dict[str, Any] = {
        "epochs": rung + 1.0,
        "metrics": {"accuracy": 0.5},
        "train_loss": 0.7,
        "seconds": 1.5,
    }
    return Report(rung=rung, **values | fields)


def running_study(database: Database, trials: int = 2) -> Study:
    study = database.create_study("tickets", SPEC, {"kind": "classification"}, worker="me")
    database.add_trials(study.id, [trial(number) for number in range(trials)])
    database.start_trials(study.id, range(trials), bracket=0)
    return database.study(study.id)


def test_study_read_by_another_process_equals_what_was_written(url: str, database: Database) -> None:
    study_id = running_study(database, trials=1).id
    database.record_rung(
        study_id, {0: report()}, {0: State.RUNNING}, {}, {0: LATENCY}, {0: {"training_bytes": 3_000_000_000}}
    )
    database.record_rung(study_id, {0: report(rung=1, gates=GATES)}, {}, {0: "slow"})
    database.finish_trial(
        study_id, 0, State.COMPLETE, test={"accuracy": 0.75}, module_file="a" * 64, stored_bytes=2**40
    )
    baseline = Baseline(
        name="linear_probe", validation={"accuracy": 0.2}, test={"accuracy": 0.25}, latency=LATENCY
    )
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    export = Export(
        trial=0, baseline=None, format="standalone", folder="out", difference=1e-6, created=moment
    )
    database.add_baseline(study_id, baseline)
    database.add_export(study_id, export)
    database.set_recommendation(study_id, {"trial": 0, "tied": [0]})
    database.set_study_state(study_id, State.COMPLETE, message="done", seconds=12.5)

    other = open_database(url)
    study = other.study(study_id)
    other.close()

    assert (study.name, study.state, study.spec, study.message) == ("tickets", State.COMPLETE, SPEC, "done")
    assert study.seconds == 12.5
    assert study.started is not None and study.finished is not None
    assert study.created <= study.started <= study.finished
    assert abs(study.created - datetime.now(UTC)) < timedelta(minutes=5)
    assert study.trials == (
        trial(
            0,
            state=State.COMPLETE,
            bracket=0,
            reports=(report(), report(rung=1, gates=GATES)),
            test={"accuracy": 0.75},
            latency=LATENCY,
            training_bytes=3_000_000_000,
            module_file="a" * 64,
            stored_bytes=2**40,
            message="slow",
        ),
    )
    assert study.baselines == (baseline,)
    assert study.exports == (export,)
    assert study.recommendation == {"trial": 0, "tied": [0]}


def test_trials_that_were_measured_elsewhere_are_added_with_their_reports(database: Database) -> None:
    study = database.create_study("imported", {}, {})
    reports = (report(gates=GATES[:1]), report(rung=1, gates=GATES))
    done = trial(3, state=State.PRUNED, reports=reports, test={"accuracy": 1.0})
    database.add_trials(study.id, [trial(1), done])
    assert database.study(study.id).trials == (trial(1), done)


def test_a_trial_keeps_who_proposed_it(database: Database) -> None:
    study_id = database.create_study("told", SPEC, {}).id
    database.add_trials(study_id, [trial(0, origin="memory: tickets"), trial(1)])
    assert [one.origin for one in database.study(study_id).trials] == ["memory: tickets", None]


def test_meta_features_are_added_to_what_is_known_of_the_task(database: Database) -> None:
    study_id = database.create_study("told", SPEC, {"kind": "classification"}).id
    database.add_meta_features(study_id, {"rows": 2.5, "probe": math.nan})
    database.add_meta_features(study_id, {"probe": 0.5})
    expected = {"kind": "classification", "meta_features": {"rows": 2.5, "probe": 0.5}}
    assert database.study(study_id).task == database.studies()[0].task == expected
    with pytest.raises(StorageError, match="there is no study 999"):
        database.add_meta_features(999, {"rows": 1.0})


def test_fields_of_a_configuration_keep_their_order_and_type(database: Database) -> None:
    config = {"rank": 8, "alpha": 16.0, "a_long_name": 1e22, "b": 0.001, "on": True, "layers": [0, 1]}
    study = database.create_study("ordered", {}, {})
    database.add_trials(study.id, [trial(0, config=config)])
    read = database.study(study.id).trials[0].config
    assert repr(read) == repr(config)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e-300])
def test_numbers_of_a_diverged_trial_come_back_as_they_were(database: Database, value: float) -> None:
    study_id = running_study(database, trials=1).id
    gate = Gate(layer=0, module="lora", role="query", mean=value, deviation=value)
    diverged = report(metrics={"accuracy": value, "macro_f1": 0.5}, train_loss=value, gates=(gate,))
    database.record_rung(study_id, {0: diverged}, {0: State.RUNNING})
    database.finish_trial(study_id, 0, State.FAIL, "diverged", test={"accuracy": value})
    database.set_recommendation(study_id, {"alternatives": [{"validation": {"low": value}}]})
    study = database.study(study_id)
    recommendation = study.recommendation
    assert recommendation is not None
    read = study.trials[0].reports[0]
    assert repr(read) == repr(diverged)
    assert repr(study.trials[0].test) == repr({"accuracy": value})
    assert repr(recommendation["alternatives"][0]["validation"]["low"]) == repr(value)


def test_message_of_a_crash_may_hold_any_character(database: Database) -> None:
    study_id = running_study(database, trials=1).id
    database.finish_trial(study_id, 0, State.FAIL, "bad file a\x00b\udcff")
    assert database.study(study_id).trials[0].message == "bad file a?b?"


def test_finished_trial_never_changes(database: Database) -> None:
    study_id = running_study(database).id
    database.finish_trial(study_id, 0, State.COMPLETE, test={"accuracy": 0.9})
    before = database.study(study_id).trials
    with pytest.raises(StorageError, match=r"trials 0 \(COMPLETE\) of study .* never change"):
        database.finish_trial(study_id, 0, State.FAIL, "again")
    with pytest.raises(StorageError, match="never change"):
        database.start_trials(study_id, [0, 1], bracket=7)
    with pytest.raises(StorageError, match="never change"):
        database.record_rung(study_id, {1: report(), 0: report()}, {1: State.PRUNED})
    assert database.study(study_id).trials == before


def test_test_split_is_opened_once_and_the_choice_stands(database: Database) -> None:
    study_id = running_study(database).id
    database.add_baseline(study_id, Baseline(name="majority", validation={"accuracy": 0.2}))
    database.finish_trial(study_id, 0, State.COMPLETE)
    assert database.study(study_id).baselines[0].test == {}
    database.open_test(study_id, {"trial": 0}, {0: {"accuracy": 0.75}}, {"majority": {"accuracy": 0.25}})
    opened = database.study(study_id)
    assert [t.test for t in opened.trials] == [{"accuracy": 0.75}, None]
    assert opened.baselines[0].test == {"accuracy": 0.25}
    assert opened.recommendation is not None and opened.recommendation["trial"] == 0
    assert datetime.fromisoformat(opened.recommendation["test_opened"]) >= opened.created.replace(
        microsecond=0
    )
    with pytest.raises(StorageError, match="was opened before; its choice stands"):
        database.open_test(study_id, {"trial": 1}, {1: {"accuracy": 1.0}}, {"majority": {"accuracy": 1.0}})
    assert database.study(study_id) == opened


def test_crash_between_two_writes_leaves_no_half_rung(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = running_study(database).id
    before = database.study(study_id)

    def crash(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith("UPDATE trials"):
            raise RuntimeError("power cut")

    event.listen(database._engine, "before_cursor_execute", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        database.record_rung(study_id, {0: report(), 1: report()}, {0: State.RUNNING, 1: State.PRUNED})
    event.remove(database._engine, "before_cursor_execute", crash)
    assert database.study(study_id) == before


def test_rung_is_measured_once_and_a_second_report_changes_nothing(database: Database) -> None:
    study_id = running_study(database).id
    database.record_rung(study_id, {0: report()}, {})
    before = database.study(study_id)
    with pytest.raises(StorageError, match="trial 0 already has a report of rung 0"):
        database.record_rung(study_id, {0: report(seconds=9.0), 1: report()}, {1: State.PRUNED})
    assert database.study(study_id) == before


def test_crashed_study_has_its_unfinished_trials_failed(database: Database) -> None:
    study_id = running_study(database, trials=3).id
    database.add_trials(study_id, [trial(3)])
    database.finish_trial(study_id, 1, State.PRUNED)
    assert database.fail_running_trials(study_id, "the worker died") == [0, 2, 3]
    assert database.fail_running_trials(study_id, "the worker died") == []
    trials = database.study(study_id).trials
    assert [trial.state for trial in trials] == [State.FAIL, State.PRUNED, State.FAIL, State.FAIL]
    assert [trial.message for trial in trials] == [
        "the worker died",
        "",
        "the worker died",
        "the worker died",
    ]


def test_a_trial_keeps_the_checkpoint_of_its_last_rung_and_none_when_it_ends(database: Database) -> None:
    study_id = running_study(database, trials=3).id
    first = {number: {"checkpoint_file": f"file {number}"} for number in range(3)}
    database.record_rung(study_id, {n: report() for n in range(3)}, {}, found=first)
    assert [t.checkpoint_file for t in database.study(study_id).trials] == ["file 0", "file 1", "file 2"]
    ended = {0: {"checkpoint_file": "later"}, 1: {"module_file": "module", "test": {"accuracy": 0.5}}}
    states = {0: State.RUNNING, 1: State.COMPLETE, 2: State.RUNNING}
    database.record_rung(study_id, {n: report(rung=1) for n in range(3)}, states, found=ended)
    trials = database.study(study_id).trials
    assert [trial.checkpoint_file for trial in trials] == ["later", None, None]
    assert (trials[1].module_file, trials[1].test) == ("module", {"accuracy": 0.5})
    database.fail_running_trials(study_id, "the end")
    assert [trial.checkpoint_file for trial in database.study(study_id).trials] == [None, None, None]


def test_files_that_a_row_names_are_in_use(database: Database) -> None:
    spec = {"train": {"name": "rows.csv", "sha256": "data"}, "validation": None}
    study_id = database.create_study("tickets", spec, {}).id
    database.add_trials(study_id, [trial(0, module_file="module", checkpoint_file="checkpoint")])
    database.add_baseline(study_id, Baseline(name="probe", validation={}, test={}, predictions_file="logits"))
    named = {"data", "module", "checkpoint", "logits"}
    assert database.files_in_use([*named, "nobody's"]) == named
    assert database.files_in_use([]) == set()


def test_runs_of_a_study_are_kept_in_order(database: Database) -> None:
    study_id = running_study(database).id
    assert database.study(study_id).runs == ()
    for command in ("peltier submit rows.csv", "peltier work"):
        database.add_run(study_id, {"command": command, "torch": "2.13.0"})
    assert [run["command"] for run in database.study(study_id).runs] == [
        "peltier submit rows.csv",
        "peltier work",
    ]


def test_names_and_numbers_are_taken_once(database: Database) -> None:
    study_id = running_study(database).id
    with pytest.raises(StorageError, match="'tickets' exists already; choose another name"):
        database.create_study("tickets", {}, {})
    with pytest.raises(StorageError, match="already has one of the trials 2, 1"):
        database.add_trials(study_id, [trial(2), trial(1)])
    database.add_baseline(study_id, Baseline(name="majority", validation={}, test={}))
    with pytest.raises(StorageError, match="already has the baseline 'majority'"):
        database.add_baseline(study_id, Baseline(name="majority", validation={}, test={}))
    assert len(database.study(study_id).trials) == 2


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "nul\x00", "\udcff", "x" * 201])
def test_unreadable_name_is_refused(database: Database, name: str) -> None:
    with pytest.raises(StorageError, match="cannot name a study"):
        database.create_study(name, {}, {})


def test_study_is_found_by_name_before_id_and_unknown_ones_are_helped(database: Database) -> None:
    with pytest.raises(StorageError, match="no study 'x'; this database has no studies yet"):
        database.find_study("x")
    ids = [database.create_study(name, {}, {}).id for name in ("a", "b", "1", "c", "d", "e")]
    assert database.find_study("a").id == ids[0]
    assert database.find_study(str(ids[1])).id == ids[1]
    assert database.find_study("1").id == ids[2]
    for unknown in ("f", "99", "9" * 30, "²"):
        with pytest.raises(
            StorageError, match="the newest are 'e', 'd', 'c', '1', 'b'. Give a name or an id"
        ):
            database.find_study(unknown)
    with pytest.raises(StorageError, match="there is no study 99"):
        database.set_study_state(99, State.RUNNING, "hello")
    with pytest.raises(StorageError, match="there is no study 99"):
        database.add_trials(99, [trial(0)])


def test_list_of_studies_is_newest_first_and_costs_the_same_for_many_trials(database: Database) -> None:
    study_id = running_study(database, trials=50).id
    database.record_rung(study_id, {n: report() for n in range(50)}, {n: State.PRUNED for n in range(20)})
    database.create_study("later", {}, {})
    statements: list[str] = []
    event.listen(database._engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    assert [study.name for study in database.studies()] == ["later", "tickets"]
    assert database.trial_counts() == {study_id: {State.PRUNED: 20, State.RUNNING: 30}}
    selects = [statement for statement in statements if statement.startswith("SELECT")]
    assert len(selects) == 2
    assert len(database.study(study_id).trials) == 50
    assert len([statement for statement in statements if statement.startswith("SELECT")]) == 2 + 5


def test_nothing_known_is_null_and_deleted_studies_take_their_rows_along(database: Database) -> None:
    study_id = running_study(database).id
    database.record_rung(study_id, {0: report()}, {})
    with database._engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM studies WHERE recommendation IS NULL")) == 1
    with database._engine.begin() as connection:
        connection.execute(text("DELETE FROM studies"))
        assert connection.scalar(text("SELECT count(*) FROM trials")) == 0
        assert connection.scalar(text("SELECT count(*) FROM reports")) == 0


def test_reading_goes_on_while_another_process_writes(url: str, database: Database) -> None:
    study_id = running_study(database).id
    writer = create_engine(url, isolation_level="AUTOCOMMIT")
    with writer.connect() as connection:
        connection.execute(text("BEGIN"))
        connection.execute(text("UPDATE studies SET message = 'half'"))
        assert database.study(study_id).message == ""
        assert [study.message for study in database.studies()] == [""]
        connection.execute(text("COMMIT"))
    writer.dispose()
    assert database.study(study_id).message == "half"


def test_study_is_read_as_of_one_moment(url: str, database: Database) -> None:
    study_id = running_study(database).id
    other = open_database(url)

    def write_meanwhile(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if "FROM trials" in statement and not other.study(study_id).trials[0].reports:
            other.record_rung(study_id, {0: report()}, {0: State.PRUNED})

    event.listen(database._engine, "after_cursor_execute", write_meanwhile)
    half = database.study(study_id).trials[0]
    assert (half.state, half.reports) == (State.RUNNING, ())
    whole = database.study(study_id).trials[0]
    assert (whole.state, whole.reports) == (State.PRUNED, (report(),))
    other.close()


def test_database_that_vanishes_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "peltier.db"
    database = open_database(f"sqlite:///{file}")
    database.close()
    for path in tmp_path.iterdir():
        path.unlink()
    file.write_bytes(b"not a database, but long enough to have a header" * 10)
    with pytest.raises(StorageError) as caught:
        database.studies()
    assert "file is not a database; check that" in str(caught.value)
