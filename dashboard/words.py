"""Numbers, states and user data as words on a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from selector.phrases import BASELINE_NAMES

STATES = {
    "WAITING": "waiting",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "stopped early",
    "FAIL": "failed",
}
METHODS = {
    "adapter": "bottleneck adapter",
    "bitfit": "BitFit",
    "lora": "LoRA",
    "prefix": "prefix-tuning",
    "unipelt": "UniPELT",
    "ia3": "(IA)³",
    "layernorm": "LayerNorm tuning",
    "reft": "LoReFT",
    "vera": "VeRA",
    "prompt": "prompt tuning",
    "compacter": "Compacter",
    **{name: words.removeprefix("the ") for name, words in BASELINE_NAMES.items()},
}
MODULES = {"adapter": "adapter", "prefix": "prefix"}
METRICS = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "weighted_f1": "weighted F1",
    "matthews": "Matthews correlation",
    "auroc": "AUROC",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "r2": "R²",
    "span_f1": "span F1",
    "token_accuracy": "token accuracy",
}
COST_NAMES = {
    "parameters": "trainable parameters",
    "bytes": "stored bytes",
    "latency": "inference latency",
    "seconds": "training time",
    "memory": "training memory",
}
MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|$~:&-])")


def plain(text: object) -> str:
    """User data inside markdown: shown as it is, never as a link, an image, a formula or emphasis."""
    return MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def method_name(method: str) -> str:
    """The name that papers use; a method unknown here keeps its own."""
    return METHODS.get(method, method)


def module_name(method: str) -> str:
    """A method as one module of a mixture, in a word."""
    return MODULES.get(method, method_name(method))


def metric_name(metric: str) -> str:
    """The metric as a word, such as macro F1."""
    return METRICS.get(metric, metric)


def state_name(state: str) -> str:
    """A state in everyday words."""
    return STATES.get(str(state), str(state).lower())


def contender_name(method: str, trial: int | None) -> str:
    """A module by its method and trial; a baseline by its name alone."""
    return method_name(method) if trial is None else f"{method_name(method)}, trial {trial}"


def number(value: Any) -> str:
    """A configuration value: small fractions as 3.2e-4, the rest as it is."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.1e}".replace("e-0", "e-") if abs(value) < 0.001 else f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(number(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def estimate(found: Mapping[str, Any]) -> str:
    """A mean with its interval and seeds, without its split: that stands in front."""
    seeds = f"{found['seeds']} seed{'s' if found['seeds'] != 1 else ''}"
    return f"{found['mean']:.3f} (95 % interval {found['low']:.3f} to {found['high']:.3f}, {seeds})"


def when(moment: str) -> str:
    """An ISO time as date and time of day here."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """Seconds as 1.5 s, 42 s, 3 min 5 s or 2 h 10 min."""
    whole = int(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
