"""Whole studies with folds: searched, recommended, exported, predicted, taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Shell, write_rows
from kinds import rows_of, write_file

from selector.data import DataFiles, read, read_kept
from selector.jobs import Bracket, Job, Result
from selector.search import Search
from selector.service import Service, check_request
from selector.study import DataFile, StudySpec
from storage.records import State, Study
from trainers.backbone import Backbone
from trainers.export import load_export

Record = Callable[[Search, Job, Result], None]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(f"sqlite:///{tmp_path / 'study.db'}")


def submitted(service: Service, folder: Path, backbone: Path, **options: object) -> Study:
    """A tiny study of 50 rows, of which 10 become the test split."""
    rows = write_rows(folder / "rows.csv", rows=50)
    given = {"methods": ("lora", "bitfit"), "trials": 4, "epochs": 4, "seeds": 2, "finalists": 2, "folds": 3}
    spec = StudySpec(
        train=DataFile(name=rows.name),
        backbone=str(backbone),
        runner="local",
        **{"full_finetuning": False, **given, **options},  # type: ignore[arg-type]
    )
    files = DataFiles(train=rows)
    return service.submit(files, spec, check_request(files, spec))


def test_a_study_of_few_rows_scores_out_of_fold_and_exports_what_is_trained_on_all(
    service: Service, tmp_path: Path, tiny_folder: Path, backbone: Backbone
) -> None:
    study = service.run(submitted(service, tmp_path, tiny_folder, folds=None).id)
    task = read_kept(service.files, StudySpec.from_json(study.spec))
    assert study.task["folds"] == task.fold_count == 5
    assert study.task["rows"] == {"train": 40, "validation": 40, "test": 10}
    assert study.recommendation is not None
    assert "Validation scores are out of fold, 5 folds: each row is scored" in study.recommendation["reason"]
    assert "compared on 40 validation examples" in study.recommendation["reason"]

    repeats = [trial for trial in study.trials if trial.repeat_of is not None]
    assert len(repeats) == 4 and {trial.state for trial in repeats} == {State.COMPLETE}
    trial = repeats[0]
    export, *_ = service.export(study.name, tmp_path / "module", trial=trial.repeat_of)
    assert export.difference <= 1e-4
    exported = load_export(tmp_path / "module", backbone)
    best = max(
        (t for t in repeats if t.repeat_of == trial.repeat_of),
        key=lambda t: t.reports[-1].metrics["accuracy"],
    )
    assert best.test is not None
    assert task.metrics(task.test, exported.logits(task.test)) == pytest.approx(best.test, abs=1e-4)
    assert exported.manifest["scores"]["validation"] == best.reports[-1].metrics
    assert len(list(exported.predict(list(task.test.texts)))) == 10


def test_full_finetuning_is_trained_in_folds_as_all_finalists_are(
    service: Service, tmp_path: Path, tiny_folder: Path
) -> None:
    options = {"trials": 1, "epochs": 1, "seeds": 1, "finalists": 1, "full_finetuning": True}
    study = service.run(submitted(service, tmp_path, tiny_folder, **options).id)
    (repeat,) = (t for t in study.trials if t.method == "full" and t.repeat_of is not None)
    assert repeat.state is State.COMPLETE and repeat.test is not None
    assert study.recommendation is not None and study.recommendation["full_finetuning_left_out"] is None
    export, *_ = service.export(study.name, tmp_path / "module", trial=repeat.repeat_of)
    assert export.difference <= 1e-4


def test_the_linear_probe_of_folds_can_be_exported(
    service: Service, tmp_path: Path, tiny_folder: Path
) -> None:
    study = service.run(submitted(service, tmp_path, tiny_folder, trials=1, epochs=1, seeds=1).id)
    chosen = {**(study.recommendation or {}), "trial": None, "method": "linear_probe"}
    service.database.set_recommendation(study.id, chosen)
    export, *_ = service.export(study.name, tmp_path / "probe")
    assert export.baseline == "linear_probe" and export.difference <= 1e-4


def test_a_study_that_died_goes_on_with_the_same_folds(
    service: Service, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = submitted(service, tmp_path, tiny_folder)
    with monkeypatch.context() as patch:
        patch.setattr(Search, "record", dying(Search.record, after=5))
        with pytest.raises(MemoryError):
            service.run(study.id)
    broken = service.database.study(study.id)
    kept = {t.number: t for t in broken.trials if t.state in (State.COMPLETE, State.PRUNED)}
    assert broken.state is State.FAIL and kept
    done = service.run(study.id)
    assert done.state is State.COMPLETE
    assert all(trial == kept[trial.number] for trial in done.trials if trial.number in kept)
    again = service.run(submitted(service, tmp_path, tiny_folder).id)
    assert done.task["data_hash"] == again.task["data_hash"]
    assert [b.validation for b in done.baselines] == [b.validation for b in again.baselines]


def dying(
    record: Callable[[Search, Job, Result], None], *, after: int
) -> Callable[[Search, Job, Result], None]:
    """`record`, which raises when that many results are written down."""
    seen: Iterator[int] = iter(range(after))

    def dies(search: Search, job: Job, result: Result) -> None:
        record(search, job, result)
        if next(seen, None) is None and isinstance(job, Bracket):
            raise MemoryError("the machine went away")

    return dies


def test_a_stored_study_from_before_there_were_folds_goes_on_without(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv", rows=50)
    values = StudySpec(train=DataFile(name=rows.name), backbone="").to_json()
    del values["folds"]
    assert read(DataFiles(train=rows), StudySpec.from_json(values)).folds is None


def test_sentences_of_words_are_searched_with_folds(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shell = Shell(monkeypatch, capsys)
    write_file(tmp_path, "names.jsonl")
    options = "--folds 2 --trials 1 --epochs 2 --seeds 1 --methods unipelt --runner local --json".split()
    options.append("--no-full-finetuning")
    study = told(shell("search", "names.jsonl", "--backbone", str(tiny_folder), *options))
    assert "2 folds" in study["task"]["origin"]["validation"]
    trial = str(study["finalists"][0]["repeats"])
    done = told(shell("export", study["study"], "module", "--trial", trial, "--prune-gates", "0.9", "--json"))
    assert {"train_before", "train_after"} <= done["pruned"].keys()
    manifest = json.loads((tmp_path / "module" / "peltier.json").read_text())
    assert manifest["scores"].keys() == {"validation", "test", "train"}
    assert manifest["scores"]["validation"] is manifest["scores"]["test"] is None
    assert len(shell("predict", "module", "names.jsonl").out.splitlines()) == len(rows_of("names.jsonl"))
    options = ["--trial", trial, "--simplify-gates"]
    done = told(shell("export", study["study"], "plain", *options, "--json"))
    assert {"gates", "train_before", "train_after"} == done["simplified"].keys()
    manifest = json.loads((tmp_path / "plain" / "peltier.json").read_text())
    assert manifest["config"]["gates"] == "none" and manifest["simplified_gates"] == done["simplified"]
    assert "gates replaced by their training means" in shell("export", study["study"], "plain", *options).out


def told(said: Any) -> dict[str, Any]:
    assert said.status == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_folds_beside_a_validation_file_are_refused_on_one_line(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_rows(tmp_path / "rows.csv", rows=50))
    shell = Shell(monkeypatch, capsys)
    for command in ("search", "check"):
        said = shell(command, path, "--validation", path, "--folds", "5", "--backbone", str(tiny_folder))
        assert said.status == 2 and said.err.count("\n") == 1
        assert "leave out --folds, or the validation rows" in said.err
