"""A licence is told only where a model card states one."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers.checkpoint import PACKAGED, locate
from trainers.licences import licence_of


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("---\ntags: [x]\n---\n# A model", None),
        ("---\nlicense: [mit, other]\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("license: mit", None),
        ("", None),
    ],
)
def test_the_metadata_of_a_card_states_it(card: str, licence: str | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence


def test_without_a_card_there_is_none(tmp_path: Path) -> None:
    assert licence_of(tmp_path) is None


def test_the_packaged_backbone_states_its_own() -> None:
    assert licence_of(locate(PACKAGED)) == "apache-2.0"
