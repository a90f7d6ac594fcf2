"""`peltier` as its users meet it: one real search, and everything that can be asked of it afterwards."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT, ROWS, Said, Shell, peltier, write_rows

from selector.service import Service
from trainers.card import check_card

SEARCH = (
    "search rows.csv --backbone bert --methods lora,adapter --trials 6 --epochs 4 --seeds 2 --folds 1 "
    "--runner local --json"
).split()
COMMANDS = (
    "search",
    "submit",
    "check",
    "space",
    "demo",
    "work",
    "studies",
    "show",
    "export",
    "predict",
    "serve",
    "push",
    "dashboard",
    "doctor",
)
HEAVY = (
    "torch",
    "transformers",
    "ray",
    "streamlit",
    "sklearn",
    "optuna",
    "pandas",
    "scipy.stats",
    "datasets",
    "alembic",
)


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a dataset and a backbone; the database and its files come to lie beside them."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(tiny_folder, folder / "bert")
    write_rows(folder / "rows.csv")
    return folder


@pytest.fixture(scope="module")
def said(folder: Path) -> Said:
    """What the one search of this module printed."""
    return peltier(*SEARCH, folder=folder)


@pytest.fixture(scope="module")
def study(said: Said) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said.out)
    return found


@pytest.fixture
def shell(
    study: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """`peltier` in the working folder, after the search."""
    monkeypatch.chdir(folder)
    return Shell(monkeypatch, capsys)


def rows_of(said: Said) -> list[dict[str, Any]]:
    assert said.status == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


# --------------------------------------------------------------------------------------- search


def test_search_prints_one_json_object_and_its_progress_to_stderr(said: Said) -> None:
    assert said.status == 0, said.err
    assert said.out.count("\n") == 1
    assert json.loads(said.out)["state"] == "COMPLETE"
    assert "configurations finished" in said.err or "finalists" in said.err
    assert "Warning" not in said.err
    assert "Traceback" not in said.err


def test_the_json_object_has_the_promised_keys_and_types(study: dict[str, Any], folder: Path) -> None:
    assert isinstance(study["study"], str)
    assert study["task"]["kind"] == "classification"
    assert study["task"]["metric"] == "accuracy"
    assert study["task"]["rows"].keys() == {"train", "validation", "test"}
    assert sum(study["task"]["rows"].values()) == ROWS
    assert study["backbone"] == str(folder / "bert")
    assert {each["name"] for each in study["baselines"]} == {
        "majority",
        "tfidf_logistic_regression",
        "linear_probe",
        "full",
    }
    assert all(0 <= each[split] <= 1 for each in study["baselines"] for split in ("validation", "test"))
    assert [trial["number"] for trial in study["trials"]] == list(range(9)), "full fine-tuning is not counted"
    assert [trial["method"] for trial in study["trials"]].count("full") == 3
    for trial in study["trials"]:
        assert trial["method"] in ("lora", "adapter", "full")
        assert trial["config"]["learning_rate"] > 0
        assert trial["state"] in ("COMPLETE", "PRUNED")
        assert 1 <= trial["epochs"] <= 4
        assert 0 <= trial["validation"] <= 1
        assert isinstance(trial["trainable_parameters"], int)
    assert isinstance(study["seconds"], float)


def test_the_recommendation_names_a_choice_its_uncertainty_and_its_reason(study: dict[str, Any]) -> None:
    recommendation = study["recommendation"]
    numbers = {trial["number"] for trial in study["trials"]}
    baselines = {baseline["name"] for baseline in study["baselines"]}
    assert recommendation["trial"] in numbers or recommendation["method"] in baselines
    assert isinstance(recommendation["config"], dict)
    for split in ("validation", "test"):
        found = recommendation[split]
        assert 0 <= found["low"] <= found["mean"] <= found["high"] <= 1
        assert found["seeds"] >= 1
    assert recommendation["trainable_parameters"] >= 0
    assert recommendation["stored_bytes"] > 0
    assert recommendation["reason"].endswith(".")
    assert set(recommendation["tied"]) <= numbers
    assert isinstance(recommendation["alternatives"], list)
    assert "full" in [one["method"] for one in recommendation["compared"]]
    assert recommendation["full_finetuning_left_out"] is None
    assert recommendation["winners_curse"]["expected_drop"] >= 0
    assert all(isinstance(one, str) for one in recommendation["would_change"])
    assert datetime.fromisoformat(recommendation["test_opened"]).tzinfo is not None


def test_cut_trials_stopped_early_and_finalists_had_fresh_seeds(study: dict[str, Any]) -> None:
    pruned = [trial for trial in study["trials"] if trial["state"] == "PRUNED"]
    complete = {trial["number"] for trial in study["trials"] if trial["state"] == "COMPLETE"}
    assert pruned and all(trial["epochs"] < 4 for trial in pruned)
    assert {each["repeats"] for each in study["finalists"]} <= complete
    assert {each["seed"] for each in study["finalists"]} == {1, 2}


# --------------------------------------------------------------------------------------- lookup


def test_show_finds_the_study_by_name_and_by_number(shell: Shell, study: dict[str, Any]) -> None:
    for name in (study["study"], "1"):
        assert json.loads(shell("show", name, "--json").out) == study


def test_show_prints_leaderboard_recommendation_and_the_next_commands(
    shell: Shell, study: dict[str, Any]
) -> None:
    text = shell("show", study["study"]).out
    assert study["recommendation"]["reason"] in text
    assert f"peltier predict {study['exports'][0]['folder']} INPUT" in text
    assert "test was opened once, after the choice: " in text
    assert "winner's curse: the highest of " in text
    assert "full fine-tuning" in text
    assert "peltier dashboard" in text


def test_who_has_seen_the_test_split_chooses_nothing_anew(
    shell: Shell, study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*arguments: object) -> None:
        pytest.fail("a study whose test split was opened was searched again")

    monkeypatch.setattr("selector.running.Search", train)
    monkeypatch.setattr("selector.running.decide", train)
    again = Service("sqlite:///peltier.db").run(1)
    assert again.recommendation == study["recommendation"]
    assert {**json.loads(shell("show", "1", "--json").out), "seconds": study["seconds"]} == study


def test_studies_lists_what_is_there(shell: Shell, study: dict[str, Any]) -> None:
    (found,) = json.loads(shell("studies", "--json").out)["studies"]
    assert (found["id"], found["study"], found["state"]) == (1, study["study"], "COMPLETE")
    assert study["study"] in shell("studies").out


def test_an_unknown_study_is_told_with_those_that_there_are(shell: Shell, study: dict[str, Any]) -> None:
    said = shell("show", "nothing")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("peltier: ") and said.err.count("\n") == 1
    assert study["study"] in said.err


# ------------------------------------------------------------------------------ export, predict


def test_predict_gives_a_label_and_probabilities_for_each_row_of_any_input(
    shell: Shell, study: dict[str, Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = study["exports"][0]["folder"]
    with (folder / "rows.csv").open(encoding="utf-8") as file:
        texts = [{"text": row["text"]} for row in csv.DictReader(file)]
    lines = "".join(json.dumps(row) + "\n" for row in texts)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # the export stands for itself
    from_csv = rows_of(shell("predict", export, str(folder / "rows.csv")))
    assert len(from_csv) == ROWS
    for row in from_csv:
        chances = row["probabilities"]
        assert row.keys() == {"label", "probabilities"}
        assert chances.keys() == {"long", "short"}
        assert math.isclose(sum(chances.values()), 1, abs_tol=1e-6)
        assert row["label"] == max(chances, key=chances.get)
    assert rows_of(shell("predict", export, "rows.jsonl")) == from_csv
    from_stdin = rows_of(peltier("predict", export, "-", folder=tmp_path, stdin=lines))
    assert [row["label"] for row in from_stdin] == [row["label"] for row in from_csv]
    one_by_one = shell("predict", export, "rows.jsonl", "--batch-size", "1", "--device", "cpu")
    assert [row["label"] for row in rows_of(one_by_one)] == [row["label"] for row in from_csv]
    last = one_by_one.err.splitlines()[-1]
    assert last.startswith(f"{ROWS} rows in ") and last.endswith("rows/s (on cpu, batches of 1)")


@pytest.mark.parametrize("full", [False, True])
def test_any_trained_trial_can_be_exported(
    full: bool, shell: Shell, study: dict[str, Any], tmp_path: Path
) -> None:
    number = next(
        t["number"]
        for t in reversed(study["trials"])
        if t["state"] == "COMPLETE" and (t["method"] == "full") == full
    )
    said = shell("export", "1", str(tmp_path / "module"), "--trial", str(number), "--json")
    done = json.loads(said.out)
    assert (done["trial"], done["folder"]) == (number, str(tmp_path / "module"))
    assert done["format"] == "native"
    assert done["difference"] <= 1e-4
    assert len(rows_of(shell("predict", done["folder"], "rows.csv"))) == ROWS
    manifest = json.loads((tmp_path / "module" / "peltier.json").read_text(encoding="utf-8"))
    assert manifest["trial"] == number
    assert manifest["method"] == study["trials"][number]["method"]
    assert manifest["parity"]["process"] == "fresh" and manifest["latency"]["ms"] > 0
    assert manifest["provenance"]["exported_by"]["command"].startswith("peltier export 1 ")
    first, *_ = manifest["provenance"]["trained_by"]
    assert first["command"].split()[:2] == ["peltier", "search"]
    assert "machine" not in json.dumps(manifest["provenance"])
    assert manifest["results"].keys() == {"validation", "test"} or manifest["results"] is None
    assert manifest["licences"] == {"backbone": None, "dataset": None}
    card = check_card((tmp_path / "module" / "README.md").read_text(encoding="utf-8")).to_dict()
    assert card["tags"] == ["peltier", manifest["method"]]


def test_the_automatic_export_is_measured_and_says_how_it_was_chosen(
    shell: Shell, study: dict[str, Any]
) -> None:
    folder = Path(study["exports"][0]["folder"])
    manifest = json.loads((folder / "peltier.json").read_text(encoding="utf-8"))
    assert manifest["parity"]["process"] == "same"
    assert manifest["latency"]["batch_ms"] > 0
    assert manifest["size_bytes"] == (folder / "module.safetensors").stat().st_size
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "## How it was chosen" in card and study["study"] in card
    found = study["recommendation"]["test"]
    assert f"{found['mean']:.4f} ({found['low']:.4f} to {found['high']:.4f})" in card


def test_what_cannot_be_exported_is_refused_with_what_can(
    shell: Shell, study: dict[str, Any], tmp_path: Path
) -> None:
    pruned = next(t["number"] for t in study["trials"] if t["state"] == "PRUNED")
    complete = [str(t["number"]) for t in study["trials"] if t["state"] == "COMPLETE"]
    assert any(t["method"] == "full" and str(t["number"]) in complete for t in study["trials"])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("four years")
    (tmp_path / "file").write_text("a file")
    new = str(tmp_path / "new")
    for arguments, hint in (
        ((new, "--trial", str(pruned)), f"--trial: {', '.join(complete)}"),
        ((new, "--trial", "99"), "has no trial 99"),
        ((new, "--format", "gguf"), "formats: native"),
        ((str(tmp_path / "taken"),), "holds other files"),
        ((str(tmp_path / "file"),), "is a file"),
        ((str(tmp_path / "file" / "below"),), "cannot write into"),
    ):
        said = shell("export", "1", *arguments)
        assert (said.status, said.out) == (2, ""), arguments
        assert said.err.startswith("peltier: ") and hint in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "file"}


# --------------------------------------------------------------------------------- other commands


@pytest.mark.slow
def test_a_submitted_study_waits_until_a_worker_runs_it(shell: Shell, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "rows.csv", tmp_path)
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    options = f"--backbone bert --runner local --trials 2 --epochs 1 --seeds 1 --database {url}".split()
    options.append("--no-full-finetuning")
    queued = json.loads(shell("submit", str(tmp_path / "rows.csv"), *options, "--json").out)
    assert queued == {"study": "rows-1", "state": "WAITING"}
    (tmp_path / "rows.csv").unlink()  # the study has kept its rows
    done = peltier("work", "--once", folder=tmp_path, PELTIER_DATABASE_URL=url)
    assert done.status == 0, done.err
    assert "study rows-1: COMPLETE" in done.err
    assert json.loads(shell("show", "rows-1", "--database", url, "--json").out)["recommendation"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Shell(monkeypatch, capsys)(command, "--help")
    assert said.status == 0
    assert f"peltier {command}" in said.out
    assert ("--database" in said.out) == (command not in ("check", "space", "predict", "serve", "push"))


def test_doctor_says_what_is_there_and_what_is_missing(shell: Shell) -> None:
    findings = json.loads(shell("doctor", "--json").out)
    assert findings["torch"]["ok"] and findings["database"] == {"ok": True, "found": "1 studies"}
    assert "ok  database: 1 studies" in shell("doctor").out
    missing = json.loads(shell("doctor", "--database", "sqlite:///no/such/folder.db", "--json").out)
    assert not missing["database"]["ok"]


def test_looking_up_a_study_waits_neither_for_torch_nor_for_ray(folder: Path, study: dict[str, Any]) -> None:
    script = f"""
import sys
from selector.__main__ import app
for arguments in (["--help"], ["studies"], ["show", "1"]):
    app(arguments, standalone_mode=False)
    print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("loaded: []") == 3


def test_who_mistypes_a_study_waits_for_none_of_them_either(folder: Path, study: dict[str, Any]) -> None:
    script = f"""
import sys
from selector.__main__ import main
sys.argv = ["peltier", "show", "nobody"]
try:
    main()
finally:
    print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "there is no study 'nobody'" in done.stderr
    assert "loaded: []" in done.stdout
