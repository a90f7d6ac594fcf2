"""The tokenizer of a backbone and its longest input, without its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import SIZES, make_backbone

import trainers.backbone
from trainers.backbone import Backbone, reader
from trainers.checkpoint import BackboneError


def test_a_reader_reads_as_the_loaded_backbone_and_loads_nothing(
    any_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("the weights are not needed")

    monkeypatch.setattr(trainers.backbone, "load_model", refuse)
    found = reader(any_backbone.reference)
    assert found.max_length == any_backbone.max_length == any_backbone.reader.max_length
    assert found.tokenizer("a good film")["input_ids"] == any_backbone.tokenizer("a good film")["input_ids"]
    assert found.tokenizer.model_input_names == any_backbone.tokenizer.model_input_names


def test_of_an_unknown_family_the_weights_are_loaded_to_say_how_much_it_reads(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_backbone(tmp_path / "camembert", "camembert", **SIZES["roberta"])
    loaded = {str(folder): backbone}
    monkeypatch.setattr(trainers.backbone, "load", lambda reference, device: loaded[reference])
    assert reader(str(folder)) == backbone.reader


def test_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="has no config.json"):
        reader(str(tmp_path))
