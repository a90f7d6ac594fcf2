"""Data that is no text: told, and never trained on by mistake."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
from PIL import Image

from trainers.checks import Finding, examine
from trainers.media import medium, medium_in
from trainers.task import TaskError, read_task

LABELS = ["cat", "dog"] * 20


def picture(row: int) -> Image.Image:
    return Image.fromarray(np.full((4, 4, 3), row, dtype=np.uint8))


def png(row: int, path: Path) -> bytes:
    picture(row).save(path / "one.png")
    return (path / "one.png").read_bytes()


def findings(**columns: Any) -> dict[str, Finding]:
    return {
        finding.check: finding
        for finding in examine(read_task(pandas.DataFrame({**columns, "label": LABELS})))
    }


CAPTIONS = [f"a picture of animal number {row}" for row in range(40)]


def test_pictures_are_known_by_how_they_begin(tmp_path: Path) -> None:
    for form, kind in {"PNG": "PNG", "JPEG": "JPEG", "GIF": "GIF", "TIFF": "TIFF"}.items():
        picture(1).save(tmp_path / "one", format=form)
        content = (tmp_path / "one").read_bytes()
        encoded = base64.b64encode(content).decode()
        assert medium(content) == f"{kind} pictures"
        assert medium(encoded) == f"{kind} pictures as base64"
        assert medium(f"data:image/{form.lower()};base64,{encoded}") == "pictures as base64"
        assert medium({"bytes": content, "path": None}) == f"{kind} pictures"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("train/0001.png", "names of pictures"),
        ("C:\\data\\IMG_1.JPG", "names of pictures"),
        ("https://example.org/a/b.webp", "names of pictures"),
        ("clip.wav", "names of sounds"),
        ({"bytes": None, "path": "clip.mp4"}, "names of videos"),
        ("look at this photo.png", None),
        ("A picture of a cat.", None),
        ("iVBORw0KGgo is how a picture begins in base64", None),
        ("Donaudampfschifffahrtsgesellschaftskapitaensmuetze", None),
        ("version.2", None),
        ("", None),
        (None, None),
        (3, None),
    ],
)
def test_text_is_no_picture(value: object, kind: str | None) -> None:
    assert medium(value) == kind


def test_one_name_of_a_picture_among_texts_is_a_text() -> None:
    assert medium_in(["a.png", "some text", "more", None]) is None
    assert medium_in([None, "a.png", "b.png", "text"]) == "names of pictures"


@pytest.mark.parametrize("form", ["base64", "bytes", "names", "datasets"])
def test_pictures_beside_captions_are_named_and_the_captions_learned_from(form: str, tmp_path: Path) -> None:
    forms: dict[str, Any] = {
        "base64": [base64.b64encode(png(row, tmp_path)).decode() for row in range(40)],
        "bytes": [png(row, tmp_path) for row in range(40)],
        "names": [f"images/{row}.jpg" for row in range(40)],
        "datasets": [{"bytes": png(row, tmp_path), "path": None} for row in range(40)],
    }
    rows: Any = {"picture": forms[form], "caption": CAPTIONS, "label": LABELS}
    if form == "datasets":
        features = {
            "picture": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.Value("string"),
        }
        given: Any = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    elif form == "bytes":
        pandas.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
        given = tmp_path / "rows.parquet"
    else:
        given = tmp_path / "rows.jsonl"
        given.write_text(
            "\n".join(
                json.dumps(dict(zip(rows, row, strict=True))) for row in zip(*rows.values(), strict=True)
            )
        )
    task = read_task(given)
    assert (task.text, task.label) == ("caption", "label")  # no name of a text, but the only other column
    (finding,) = (finding for finding in examine(task) if finding.check == "pictures, sounds or videos")
    assert finding.severity == "warning" and finding.examples[0].startswith("'picture' holds ")


def test_pictures_alone_are_refused(tmp_path: Path) -> None:
    rows = pandas.DataFrame({"image": [png(row, tmp_path) for row in range(40)], "label": LABELS})
    with pytest.raises(
        TaskError, match=r"holds PNG pictures in column 'image', which cannot be trained on.*--text"
    ):
        read_task(rows)
    names = pandas.DataFrame({"text": [f"{row}.png" for row in range(40)], "label": LABELS})
    with pytest.raises(TaskError, match=r"holds names of pictures in column 'text'.*\('label'\)"):
        read_task(names)


def test_what_is_named_is_read_and_found_to_be_no_text() -> None:
    names = pandas.DataFrame({"file": [f"{row}.png" for row in range(40)], "label": LABELS})
    found = {one.check: one for one in examine(read_task(names, text="file"))}
    assert found["no texts"].severity == "error" and "names of pictures" in found["no texts"].what
    assert "pictures, sounds or videos" not in found


@pytest.mark.parametrize(
    "values",
    [
        [row * 1.5 for row in range(40)],
        [f"2024-01-{row % 28 + 1:02} 10:{row:02}" for row in range(40)],
        [f"[{row}, 0.5, 1e-3]" for row in range(40)],
        [f"+49 30 {row:05}" for row in range(40)],
    ],
)
def test_numbers_are_no_texts(values: list[Any]) -> None:
    found = findings(value=values)["no texts"]
    assert (found.severity, found.count) == ("error", 40)
    assert "are numbers" in found.what and "'value'" in found.what and "--text" in found.advice


def test_texts_with_numbers_and_short_texts_are_texts() -> None:
    assert "no texts" not in findings(text=[f"{row} eggs" for row in range(40)])
    assert "no texts" not in findings(text=["ok" if row % 3 else str(row) for row in range(40)])
    assert "no texts" not in findings(text=[f"e{row}" for row in range(40)])
