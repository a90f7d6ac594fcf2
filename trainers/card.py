"""The model card of an export: what its manifest says, for people and for the hub."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from trainers.card_usage import library, usage
from trainers.kinds import single
from trainers.markdown import MOST_NAMED, listed, plain, table

METRIC_IDS = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "weighted_f1": "f1",
    "span_f1": "f1",
    "token_accuracy": "accuracy",
    "matthews": "matthews_correlation",
    "auroc": "roc_auc",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "r2": "r_squared",
    "rmse": "rmse",
}
"""Our metrics -> the hub's; those not named have the same name."""
WHOLE = frozenset({"merged", "standalone", "onnx"})
"""Formats that hold the backbone, too."""

Manifest = Mapping[str, Any]


def card(manifest: Manifest) -> str:
    """The card as Markdown below its metadata; nothing in it that the manifest does not say."""
    parts = [_what(manifest), _results(manifest), _chosen(manifest), _use(manifest), _limits(manifest)]
    body = "\n\n".join("\n\n".join(part) for part in map(list, parts) if part)
    return f"---\n{_metadata(manifest).to_yaml()}\n---\n\n{body}\n"


def check_card(text: str) -> ModelCardData:
    """The metadata of a card, read as the hub's library reads it; needs no network.

    Raises:
        ValueError: if it has none, or the metadata is malformed.
    """
    if not text.lstrip().startswith("---"):
        raise ValueError("the card has no metadata between two lines of ---")
    try:
        found = ModelCard(text).data
    except Exception as error:  # YAML raises what it pleases
        raise ValueError(f"the metadata of the card cannot be read: {_first_line(error)}") from None
    assert isinstance(found, ModelCardData)
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _metadata(manifest: Manifest) -> ModelCardData:
    backbone, dataset, format = manifest["backbone"], manifest.get("dataset"), _format(manifest)
    metric = manifest["task"]["metric"]
    whole = format in WHOLE or manifest["method"] == "full"
    results = _eval_results(manifest)
    base = backbone.get("hub")
    return ModelCardData(
        library_name=library(format),
        license=manifest.get("licences", {}).get("backbone") if whole else None,
        base_model=base,
        base_model_relation=None if base is None else "finetune" if whole else "adapter",
        pipeline_tag=_pipeline(manifest),
        datasets=None if dataset is None else [dataset],
        metrics=[_metric_id(metric)],
        tags=["peltier", plain_word(manifest["method"])],
        model_name=plain_word(_name(manifest)),
        eval_results=results or None,
    )


def _eval_results(manifest: Manifest) -> list[EvalResult]:
    """This module's own score, on the best split that has one: the test split, else validation."""
    metric, task = manifest["task"]["metric"], manifest["task"]
    for split in ("test", "validation"):
        value = _own(manifest, split)
        if value is not None:
            return [
                EvalResult(
                    task_type=_pipeline(manifest),
                    dataset_type=manifest.get("dataset") or "private",
                    dataset_name=plain_word(task["name"]),
                    dataset_split=split,
                    metric_type=_metric_id(metric),
                    metric_name=plain_word(metric),
                    metric_value=value,
                )
            ]
    return []


def _own(manifest: Manifest, split: str) -> float | None:
    scores = (manifest.get("scores") or {}).get(split) or {}
    value = scores.get(manifest["task"]["metric"])
    return float(value) if value is not None and math.isfinite(value) else None


def _what(manifest: Manifest) -> Iterator[str]:
    task, backbone = manifest["task"], manifest["backbone"]
    yield f"# {plain(_name(manifest))}"
    named = plain(backbone["hub"]) if backbone.get("hub") else "a model in a folder of its owner"
    revision = f", revision {plain(backbone['revision'])}" if backbone.get("revision") else ""
    held = "with its backbone" if _format(manifest) in WHOLE else "to be put on its backbone"
    yield (
        f"A module for {plain(task['kind'])}, trained with the method {plain(manifest['method'])} and "
        f"exported by Peltier in format {_format(manifest)}, {held}: "
        f"{named} ({plain(backbone['model_type'])}, width {backbone['hidden_size']}{revision})."
    )
    read = "its words" if single(task["kind"]) == "token-classification" else "its text"
    columns = task["columns"]
    pair = f" and {plain(columns['text_pair'])}" if columns["text_pair"] else ""
    yield (
        f"- Of each row it reads {read} (column {plain(columns['text'])}{pair}), at most "
        f"{manifest['max_length']} tokens.\n"
        f"- It predicts {_predicts(task)}.\n"
        f"- Configuration: {plain(', '.join(f'{k}={v}' for k, v in manifest['config'].items()))}.\n"
        f"- {manifest.get('size_bytes', 0):,} bytes{_latency(manifest)}."
    )


def _predicts(task: Mapping[str, Any]) -> str:
    labels = task["labels"]
    if not labels:
        return f"a number ({plain(task['columns']['label'])})"
    kind = single(task["kind"])
    one = {"multi-label": "any of", "token-classification": "for each word one of"}.get(kind, "one of")
    return f"{one} {len(labels)} labels: {listed(labels, MOST_NAMED)}"


def _latency(manifest: Manifest) -> str:
    took = manifest.get("latency")
    if not took:
        return ""
    return (
        f"; on {plain(took['device'])}, {took['ms']:.1f} ms for one text of median length and "
        f"{took['batch_ms']:.1f} ms for {took['batch']} together, tokenising included"
    )


def _results(manifest: Manifest) -> Iterator[str]:
    task, results = manifest["task"], manifest.get("results") or {}
    rows = []
    for split in ("validation", "test"):
        own, several = _own(manifest, split), results.get(split)
        if own is None and several is None:
            continue
        mean = "" if several is None else _interval(several)
        seeds = "" if several is None else str(several["seeds"])
        rows.append([split, "" if own is None else f"{own:.4f}", mean, seeds, f"{task['rows'][split]:,}"])
    if not rows:
        return
    yield "## Results"
    yield table(["split", f"{task['metric']}, this module", "mean (95 % interval)", "seeds", "rows"], rows)
    origin = "; ".join(f"{name}: {how}" for name, how in task["origin"].items())
    yield f"Where the splits come from: {plain(origin)}. The test split chose nothing."


def _interval(found: Mapping[str, Any]) -> str:
    return f"{found['mean']:.4f} ({found['low']:.4f} to {found['high']:.4f})"


def _chosen(manifest: Manifest) -> Iterator[str]:
    found = manifest.get("recommendation")
    if not found:
        return
    yield "## How it was chosen"
    yield plain(found["reason"])
    if manifest.get("pruned_gates"):
        yield "After that choice, parts whose gates stay shut were left out; the table has the score since."
    if manifest.get("simplified_gates"):
        yield "After that choice, gates were replaced by their training means; the table has the score since."


def _use(manifest: Manifest) -> Iterator[str]:
    yield "## Use"
    yield from usage(_format(manifest), manifest)


def _limits(manifest: Manifest) -> Iterator[str]:
    task, checked = manifest["task"], manifest.get("parity")
    yield "## Limits"
    lines = [
        f"It was trained on {task['rows']['train']:,} rows of one dataset ({plain(task['name'])}); what it "
        "does on other texts was not measured.",
    ]
    if task["labels"]:
        lines.append("Every text gets of these labels only, also one that fits none of them.")
    if manifest.get("truncation"):
        lines.append(f"Longer texts are cut ({plain(manifest['truncation'])}); the rest is not read.")
    if checked:
        lines.append(
            f"Reloaded before release, its logits differed from the trained ones by at most "
            f"{checked['largest_difference']:.1e} on {checked['rows']:,} rows in fp32 (allowed: "
            f"{checked['tolerance']:.0e}); in other precisions that was not measured."
        )
    licence = manifest.get("licences", {}).get("backbone")
    lines.append(
        f"Licence of the backbone: {plain(licence)}." if licence else "No licence of the backbone is known."
    )
    yield "\n".join(f"- {line}" for line in lines)


def _format(manifest: Manifest) -> str:
    return "native" if manifest["format"] == "peltier" else str(manifest["format"])


def _name(manifest: Manifest) -> str:
    return str(manifest.get("study") or manifest["task"]["name"] or "module")


def _pipeline(manifest: Manifest) -> str:
    kind = single(manifest["task"]["kind"])
    return "token-classification" if kind == "token-classification" else "text-classification"


def _metric_id(metric: str) -> str:
    return "f1" if metric.startswith("f1:") else METRIC_IDS.get(metric, metric)


def plain_word(text: object) -> str:
    """User's text as a value of the metadata: on one line, and never empty."""
    return "".join(one if one.isprintable() else "?" for one in str(text)) or "?"
