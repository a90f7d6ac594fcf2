"""`--profile` is refused where there is nothing to look into, before anything is read or trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Shell, write_rows


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("search", ["--profile", "t.json"], "use it with: peltier search --runner local"),
        ("submit", ["--profile", "t.json", "--runner", "local"], "peltier search --runner local"),
        ("search", ["--profile", "none/t.json", "--runner", "local"], "no file can be written there"),
        ("search", ["--profile", ".", "--runner", "local"], "no file can be written there"),
    ],
)
def test_a_profile_that_cannot_be_made_is_refused(
    command: str,
    options: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.csv", 4)
    said = Shell(monkeypatch, capsys)(command, "rows.csv", *options)
    assert said.status == 2 and expected in said.err
    assert not (tmp_path / "peltier.db").exists()
