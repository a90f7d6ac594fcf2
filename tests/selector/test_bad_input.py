"""A mistake is one line that helps, exit status 2, and nothing in the store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from commands import Said, Shell, peltier, write_rows
from safetensors.torch import load_file, save_file
from tiny import make_backbone, sentences

from trainers.backbone import load
from trainers.export import Module, write_export
from trainers.method import METHODS
from trainers.stack import Candidate, Stack
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import logits_of

PASSWORD = "correct-horse"
CLOSED = f"postgresql://me:{PASSWORD}@127.0.0.1:1/studies"

FILES = {
    "empty.csv": b"",
    "header.csv": b"text,label\n",
    "one-label.csv": b"text,label\ngood film,1\nbad film,1\nlong film,1\n",
    "latin.csv": "text,label\ncafé,1\nfilm,0\n".encode("latin-1"),
}


@pytest.fixture
def shell(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """`peltier` in a folder with sound and with unsound datasets and backbones."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    write_rows(tmp_path / "rows.csv", rows=30)
    for name in ("bert", "no-config", "no-weights", "gpt"):
        shutil.copytree(tiny_folder, tmp_path / name)
    (tmp_path / "no-config" / "config.json").unlink()
    (tmp_path / "no-weights" / "model.safetensors").unlink()
    (tmp_path / "gpt" / "config.json").write_text('{"model_type": "bloom"}')
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def assert_refused(said: Said, hint: str) -> None:
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("peltier: ")
    assert said.err.count("\n") == 1
    assert hint in said.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("nothere.csv", "nothere.csv does not exist"),
        ("bert", "is a folder, not a file"),
        ("empty.csv", "empty.csv is empty"),
        ("header.csv", "header.csv has no rows"),
        ("one-label.csv", "has one label only"),
        ("latin.csv", "is not UTF-8 text: line 2"),
        ("rows.csv --text body", "has no column 'body'; it has 'text', 'label'"),
        ("rows.csv --label intent", "has no column 'intent'"),
        ("rows.csv --validation empty.csv", "empty.csv is empty"),
        ("rows.csv --task translation", "choose --task from classification, pair-classification"),
        ("rows.csv --metric bleu", "choose --metric from accuracy, macro_f1"),
        ("rows.csv --methods lorra", "methods: adapter, bitfit, "),
        ("rows.csv --budget soon", "write for example 90s, 20m or 1h30m"),
        ("rows.csv --budget 0s", "it must be positive"),
        ("rows.csv --backbone no-config", "has no config.json"),
        ("rows.csv --backbone no-weights", "has no .safetensors weights"),
        ("rows.csv --backbone gpt", "is of family 'bloom', unknown and built like none"),
        ("rows.csv --backbone no/such/backbone", "is neither a folder nor a model"),
        ("rows.csv --database nonsense", "'nonsense' is not a database URL"),
        ("rows.csv --database sqlite:///no/such/folder/peltier.db", "does not exist"),
    ],
)
@pytest.mark.parametrize("command", ["search", "submit"])
def test_a_request_that_cannot_be_run_leaves_nothing_behind(
    command: str, arguments: str, hint: str, shell: Shell, tmp_path: Path
) -> None:
    backbone = () if "--backbone" in arguments else ("--backbone", "bert")
    assert_refused(shell(command, *arguments.split(), *backbone), hint)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("peltier.")]


def test_a_refused_search_is_one_line_without_traceback_in_a_process_of_its_own(
    shell: Shell, tmp_path: Path
) -> None:
    assert_refused(
        peltier("search", "nothere.csv", "--backbone", "bert", "--json", folder=tmp_path), "does not exist"
    )


def test_a_name_is_taken_once_and_never_leads_out_of_the_folder(shell: Shell, tmp_path: Path) -> None:
    submit = ("submit", "rows.csv", "--backbone", "bert", "--name")
    assert shell(*submit, "mine").status == 0
    kept = sorted(path.name for path in (tmp_path / "peltier.files").iterdir())
    write_rows(tmp_path / "rows.csv", rows=40)  # other content, which must not be kept for nothing
    assert_refused(shell(*submit, "mine"), "choose another --name, such as mine-1")
    assert_refused(shell(*submit, "../mine"), "cannot name a study")
    assert sorted(path.name for path in (tmp_path / "peltier.files").iterdir()) == kept
    (study,) = json.loads(shell("studies", "--json").out)["studies"]
    assert study["study"] == "mine"


def test_the_demo_says_where_it_belongs(shell: Shell) -> None:
    assert_refused(shell("demo"), "run the demo in Peltier's source folder")


@pytest.mark.parametrize(
    "arguments",
    ["studies", "show x", "work --once", "search rows.csv --backbone bert", "export x y", "dashboard"],
)
def test_a_password_is_never_shown(arguments: str, shell: Shell) -> None:
    said = shell(*arguments.split(), "--database", CLOSED)
    assert PASSWORD not in said.out + said.err
    assert (said.status, said.out) == (2, "")
    assert "me:***@127.0.0.1:1/studies: " in said.err


def test_neither_doctor_nor_help_show_a_password(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELTIER_DATABASE_URL", CLOSED)
    for arguments in (("doctor",), ("doctor", "--json"), ("search", "--help"), ("demo",)):
        said = shell(*arguments)
        assert PASSWORD not in said.out + said.err, arguments


# ------------------------------------------------------------------------------------- predict


@pytest.fixture
def export(shell: Shell, tmp_path: Path) -> Path:
    """A sound export of an untrained module on the backbone `bert`."""
    backbone = load(str(tmp_path / "bert"), dtype="fp32")
    parts = [sentences(12, seed) for seed in range(3)]
    task = Task(
        name="films",
        kind="classification",
        text="text",
        text_pair=None,
        label="label",
        labels=("bad", "fine", "good"),
        metric="accuracy",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        origin={"train": "given", "validation": "given", "test": "given"},
        data_hash="0" * 64,
    )
    config = METHODS["lora"]()
    stack = Stack(backbone, [Candidate(config, 3)], 3)
    logits = logits_of(stack, tokenise(task.validation, backbone.tokenizer, 32))[0]
    write_export(
        tmp_path / "export", Module(config, 3, stack.states()[0]), backbone, task, 32, logits, {"study": "s"}
    )
    return tmp_path / "export"


def edit_manifest(export: Path, **changes: object) -> None:
    path = export / "peltier.json"
    manifest = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))


def test_predict_refuses_what_is_no_export_and_input_it_cannot_read(shell: Shell, export: Path) -> None:
    assert_refused(shell("predict", "bert", "rows.csv"), "it has no peltier.json")
    assert_refused(shell("predict", "nothere", "rows.csv"), "is not an export")
    assert_refused(shell("predict", "export", "nothere.csv"), "does not exist")
    assert_refused(shell("predict", "export", "empty.csv"), "is empty")
    Path("other.csv").write_text("body\ngood film\n")
    assert_refused(shell("predict", "export", "other.csv"), "has no column 'text'; it has 'body'")


def test_predict_refuses_devices_and_backbones_that_are_not_there(shell: Shell, export: Path) -> None:
    Path("rows.csv").write_text("text\ngood film\n")
    assert_refused(shell("predict", "export", "rows.csv", "--device", "abacus"), "give one of auto, cpu")
    assert_refused(shell("predict", "export", "rows.csv", "--device", "meta"), "give")
    assert_refused(shell("predict", "export", "rows.csv", "--backbone", "nothere"), "neither a folder nor")
    make_backbone(Path("other"), "electra")
    said = shell("predict", "export", "rows.csv", "--backbone", "other")
    assert_refused(said, "backbone 'other' has other weights than the one this module was trained on")


def test_predict_refuses_pickles_beside_the_module(shell: Shell, export: Path) -> None:
    (export / "optimizer.pt").write_bytes(b"")
    assert_refused(shell("predict", "export", "rows.csv"), "may run code when it is read")


def test_predict_refuses_a_changed_module(shell: Shell, export: Path) -> None:
    path = export / "module.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_refused(shell("predict", "export", "rows.csv"), "was changed after the export")


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"format_version": 2}, "has format version 2, this program reads up to 1; upgrade peltier"),
        ({"format_version": None}, "is not a Peltier manifest"),
        ({"format": "merged"}, "is an export in format merged, for other tools; its README.md says how"),
        ({"format": 3}, "is not a Peltier manifest"),
        ({"task": {"kind": "classification", "labels": []}}, "names no labels, so that nothing can be said"),
        ({"task": {"kind": "classification"}}, "names no labels, so that nothing can be said"),
        (
            {"task": {"kind": "classification", "labels": [1, 2]}},
            "names no labels, so that nothing can be said",
        ),
        ({"task": []}, "names no labels, so that nothing can be said"),
        ({"task": None, "backbone": None}, "lacks backbone, task"),
    ],
)
def test_predict_refuses_a_manifest_that_it_does_not_understand(
    changes: dict[str, object], hint: str, shell: Shell, export: Path
) -> None:
    edit_manifest(export, **changes)
    assert_refused(shell("predict", "export", "rows.csv"), hint)


def test_predict_refuses_a_manifest_that_is_no_object(shell: Shell, export: Path) -> None:
    (export / "peltier.json").write_text("[]")
    assert_refused(shell("predict", "export", "rows.csv"), "is not a Peltier manifest")


def test_predict_refuses_a_backbone_with_other_weights(shell: Shell, export: Path) -> None:
    path = Path("bert/model.safetensors")
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("query.weight"))
    save_file({**weights, name: weights[name] + torch.ones(())}, path, metadata={"format": "pt"})
    assert_refused(shell("predict", "export", "rows.csv"), "has other weights than the one")
