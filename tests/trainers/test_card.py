"""The model card: read by the hub's library, true to the manifest, and proof against what users write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from exports import write
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from tiny import task_of_kind

from trainers.backbone import Backbone
from trainers.card import card, check_card
from trainers.markdown import plain

FACTS: dict[str, Any] = {
    "study": "films-1",
    "scores": {
        "validation": {"accuracy": 0.8125, "loss": 0.5},
        "test": {"accuracy": 0.75, "loss": 0.6},
    },
    "results": {
        "validation": {"mean": 0.8, "low": 0.7, "high": 0.9, "seeds": 3},
        "test": {"mean": 0.74, "low": 0.61, "high": 0.85, "seeds": 3},
    },
    "recommendation": {"reason": "It has the highest score; BitFit is not significantly worse."},
}
NASTY = (
    "a|b`c*d_e\n---\nlicense: mit\n# <script>alert(1)</script> [x](http://y.example) ![z](w) \u202e{{ }}: #"
)


@pytest.fixture
def manifest(backbone: Backbone, tmp_path: Path) -> dict[str, Any]:
    write(tmp_path / "export", backbone, **FACTS)
    found: dict[str, Any] = json.loads((tmp_path / "export" / "peltier.json").read_text())
    return found


def with_hub(manifest: dict[str, Any], **changes: Any) -> dict[str, Any]:
    known = {"hub": "google-bert/bert-base-uncased", "revision": "0" * 40}
    return {**manifest, "backbone": {**manifest["backbone"], **known}, **changes}


def test_the_card_beside_an_export_is_the_card_of_its_manifest(
    manifest: dict[str, Any], tmp_path: Path
) -> None:
    text = (tmp_path / "export" / "README.md").read_text()
    assert text == card(manifest)
    data = check_card(text).to_dict()
    assert data["library_name"] == "peltier" and data["pipeline_tag"] == "text-classification"
    assert data["metrics"] == ["accuracy"] and data["tags"] == ["peltier", "lora"]
    (model,) = data["model-index"]
    (result,) = model["results"]
    assert model["name"] == "films-1"
    assert result["metrics"] == [{"type": "accuracy", "value": 0.75, "name": "accuracy"}]
    assert result["dataset"] == {"name": "films", "type": "private", "split": "test"}
    assert "base_model" not in data and "datasets" not in data, "a folder is nothing that the hub knows"
    assert "license" not in data and str(tmp_path) not in text


def test_every_number_of_the_results_has_its_interval_and_seeds(manifest: dict[str, Any]) -> None:
    text = card(manifest)
    assert "| validation | 0.8125 | 0.8000 (0.7000 to 0.9000) | 3 | 6 |" in text
    assert "| test | 0.7500 | 0.7400 (0.6100 to 0.8500) | 3 | 4 |" in text
    assert "It has the highest score; BitFit is not significantly worse." in text


def test_what_was_not_measured_is_not_said(manifest: dict[str, Any]) -> None:
    bare = {key: value for key, value in manifest.items() if key not in (*FACTS, "parity", "latency")}
    text = card(bare)
    assert "## Results" not in text and " ms " not in text and "model-index" not in text
    unscored = {
        **manifest,
        "scores": {"validation": {"accuracy": float("nan")}, "test": None},
        "results": None,
    }
    assert "nan" not in card(unscored).lower() and "model-index" not in card(unscored)


def test_backbones_and_data_of_the_hub_are_linked_in_its_metadata(manifest: dict[str, Any]) -> None:
    adapter = check_card(card(with_hub(manifest, dataset="stanfordnlp/sst2"))).to_dict()
    assert adapter["base_model"] == "google-bert/bert-base-uncased"
    assert adapter["base_model_relation"] == "adapter"
    assert adapter["datasets"] == ["stanfordnlp/sst2"]
    licences = {"backbone": "apache-2.0", "dataset": None}
    merged = check_card(card(with_hub(manifest, format="merged", licences=licences))).to_dict()
    assert (merged["library_name"], merged["base_model_relation"]) == ("transformers", "finetune")
    assert merged["license"] == "apache-2.0", "the backbone's weights are in it"
    assert check_card(card(with_hub(manifest, method="full"))).to_dict()["base_model_relation"] == "finetune"


@pytest.mark.parametrize("format", ["peltier", "peft", "merged", "standalone", "onnx"])
@pytest.mark.parametrize("kind", ["pair-classification", "regression", "token-classification"])
def test_the_code_in_every_card_is_python(format: str, kind: str, manifest: dict[str, Any]) -> None:
    text = card({**manifest, "format": format, "task": task_of_kind(kind, 4, 6, 4).summary()})
    (code,) = [token.content for token in MarkdownIt().parse(text) if token.type == "fence"]
    compile(code, "card", "exec")
    tagged = kind == "token-classification"
    assert check_card(text).pipeline_tag == f"{'token' if tagged else 'text'}-classification"


def test_what_users_write_changes_neither_metadata_nor_markdown(manifest: dict[str, Any]) -> None:
    task = {
        **manifest["task"],
        "name": NASTY,
        "labels": [NASTY, "yes", "no"],
        "columns": {"text": NASTY, "text_pair": NASTY, "label": NASTY},
        "metric": f"f1:{NASTY}",
        "origin": {"train": NASTY},
    }
    scores = {"validation": None, "test": {task["metric"]: 0.5}}
    reason = {"reason": f"{NASTY} is best."}
    text = card({**manifest, "study": NASTY, "task": task, "scores": scores, "recommendation": reason})
    data = check_card(text).to_dict()
    assert "license" not in data and data["metrics"] == ["f1"]
    assert data["model-index"][0]["name"].startswith("a|b`c*d_e?---?license: mit")
    body = ModelCard(text).text
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(body)
    inner = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in (*tokens, *inner)}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "hr", "em_open", "strong_open"}
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Results", "How it was chosen", "Use", "Limits"]
    rows = sum(token.type == "tr_open" for token in tokens)
    cells = sum(token.type in ("td_open", "th_open") for token in tokens)
    assert (rows, cells) == (3, 15)
    assert "\u202e" not in text


def test_plain_text_reads_as_it_was_written() -> None:
    for text in (NASTY, "1. no list", "good (very)", "see www.example.org or http://example.org"):
        (_, inline, _) = MarkdownIt("gfm-like", {"linkify": False}).parse("so: " + plain(text))
        shown = "".join(child.content for child in inline.children or ())
        assert shown == "so: " + " ".join(text.replace("\u202e", " ").split())


def test_a_card_without_readable_metadata_is_refused() -> None:
    for text in ("# no metadata", "---\na: [\n---\n# x", "---\nmodel-index: 3\n---\n"):
        with pytest.raises(ValueError, match="metadata"):
            check_card(text)
