"""`peltier push`: exactly the files of a sound export go to the hub, and only as private as was asked."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from commands import Said, Shell
from exports import write

from trainers.backbone import Backbone

OWN = {"README.md", "peltier.json", "module.safetensors"}


class Hub:
    """Takes what `HfApi` would send; repositories are there already, public or not."""

    def __init__(self, public: bool = False) -> None:
        self.public = public
        self.created: list[tuple[str, bool]] = []
        self.uploaded: dict[str, bytes] = {}

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> str:
        self.created.append((name, private))
        return f"https://hub.example/{name}"

    def model_info(self, name: str) -> Any:
        return SimpleNamespace(private=not self.public)

    def create_commit(self, name: str, operations: list[Any], *, commit_message: str) -> None:
        self.uploaded = {one.path_in_repo: Path(one.path_or_fileobj).read_bytes() for one in operations}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    return hub


@pytest.fixture
def shell(
    backbone: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """`peltier` where the folder `module` is an export."""
    write(tmp_path / "module", backbone, study="films-1")
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def assert_refused(said: Said, hint: str) -> None:
    assert (said.status, said.out) == (2, ""), said
    assert said.err.startswith("peltier: ") and hint in said.err, said.err
    assert said.err.count("\n") == 1


def test_the_files_of_the_export_and_no_others_are_uploaded(shell: Shell, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "module" / "passwords.txt").write_text("secret")
    said = shell("push", "module", "ada/films")
    assert said.status == 0, said.err
    assert hub.created == [("ada/films", True)]
    assert hub.uploaded.keys() == OWN
    assert hub.uploaded["module.safetensors"] == (tmp_path / "module" / "module.safetensors").read_bytes()
    assert "passwords.txt is no part of the export and stays here" in said.err
    assert "uploaded to https://hub.example/ada/films (private)" in said.out


def test_a_dry_run_lists_the_files_and_needs_no_token(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("the network was asked"))
    said = shell("push", "module", "ada/films", "--dry-run")
    assert said.status == 0
    assert {line.split()[-1] for line in said.out.splitlines()[:-1]} == OWN
    assert "3 files would go to the private ada/films; its card is valid" in said.out
    assert "names the backbone as the folder" in said.err


def test_nothing_goes_to_a_public_repository_unless_asked(shell: Shell, hub: Hub) -> None:
    hub.public = True
    said = shell("push", "module", "ada/films")
    assert said.status == 2 and "is there already and public; pass --public" in said.err
    assert hub.uploaded == {}
    assert shell("push", "module", "ada/films", "--public").status == 0
    assert hub.uploaded.keys() == OWN and hub.created[-1] == ("ada/films", False)


def test_an_edited_card_goes_out_if_it_is_valid(shell: Shell, hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "module" / "README.md"
    path.write_text(path.read_text() + "\nWritten by Ada.\n")
    assert shell("push", "module", "ada/films").status == 0
    assert hub.uploaded["README.md"].endswith(b"Written by Ada.\n")
    path.write_text("# without metadata")
    assert_refused(shell("push", "module", "ada/films"), "the card has no metadata")


def test_what_is_no_sound_export_is_not_uploaded(shell: Shell, hub: Hub, tmp_path: Path) -> None:
    for name in ("ada", "ada/films/more", "ada/fi lms", "../films"):
        assert_refused(shell("push", "module", name), "is no repository; write OWNER/NAME")
    assert_refused(shell("push", ".", "ada/films"), "it has no peltier.json")
    module = tmp_path / "module"
    (module / "more.pkl").write_bytes(b"")
    assert_refused(shell("push", "module", "ada/films"), "may run code when it is read")
    (module / "more.pkl").unlink()
    manifest = json.loads((module / "peltier.json").read_text())
    (tmp_path / "secret").write_text("secret")
    for name in ("../secret", str(tmp_path / "secret"), "link/secret"):
        (module / "link").symlink_to(tmp_path) if name == "link/secret" else None
        changed = {**manifest, "files": {**manifest["files"], name: {"sha256": "", "bytes": 6}}}
        (module / "peltier.json").write_text(json.dumps(changed))
        assert_refused(shell("push", "module", "ada/films"), "leads out of the export")
    (module / "peltier.json").write_text(json.dumps(manifest))
    content = bytearray((module / "module.safetensors").read_bytes())
    content[-1] ^= 1
    (module / "module.safetensors").write_bytes(content)
    assert_refused(shell("push", "module", "ada/films"), "its hash differs")
    assert hub.uploaded == {}


def test_without_token_or_network_one_line_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    said = shell("push", "module", "ada/films")
    assert said.status == 2 and "log in with: hf auth login" in said.err
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    said = shell("push", "module", "ada/films")  # tests are offline
    assert said.status == 2 and "the hub did not take ada/films (OfflineModeIsEnabled" in said.err
    assert "Traceback" not in said.err
